"""Copies of the base's weights, and its gradient flags."""

import pytest
import torch

import inlay
from inlay.adapters.base_weights import GradientFlags, copy_weights
from tests.contracts import tiny


def test_top_takes_the_last_blocks_and_the_norm_behind_them():
    model = tiny.decoder("llama")
    sites = inlay.probe(model)
    parameters = dict(model.named_parameters())
    chosen = set(copy_weights(inlay.Top(blocks=1), parameters, sites, model))
    expected = {p for p in parameters if p.startswith(("model.layers.2.", "model.norm."))}
    assert chosen == expected
    assert set(copy_weights(inlay.Full(), parameters, sites, model)) == set(parameters)
    assert copy_weights(inlay.Head(), parameters, sites, model) == {}


def test_copies_of_a_low_precision_base_are_float32():
    model = tiny.encoder().to(torch.bfloat16)
    sites = inlay.probe(model)
    copies = copy_weights(inlay.Top(blocks=1), dict(model.named_parameters()), sites, model)
    assert {copy.dtype for copy in copies.values()} == {torch.float32}


def test_the_first_flags_come_back():
    model = tiny.encoder()
    frozen = model.get_parameter("embeddings.word_embeddings.weight")
    frozen.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    flags = GradientFlags(model, torch.nn.Linear(2, 2))
    for _ in range(2):
        flags.freeze()
        assert not any(p.requires_grad for p in model.parameters())
    flags.thaw()
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    frozen.requires_grad_(True)
    flags.thaw()
    assert frozen.requires_grad, "flags are given back once"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_methods_that_compute_with_the_weight_start_at_it_in_any_precision(dtype):
    model = tiny.encoder().to(dtype)
    inputs = tiny.batch()
    before = tiny.hidden(model, inputs)
    adapters = inlay.attach(model)
    entry = adapters.add("a", inlay.LoRA(rank=3, init="pissa", magnitude=True))
    adapters.use("a")
    assert torch.equal(tiny.hidden(model, inputs), before)
    exact = torch.promote_types(dtype, torch.float32)
    assert {tensor.dtype for key, tensor in entry.tensors().items() if "site" in key} == {exact}
    tiny.stir(entry)
    assert not torch.equal(tiny.hidden(model, inputs), before)
