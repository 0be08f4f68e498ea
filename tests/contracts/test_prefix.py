"""Every family: a prefix is seen by its attention, or refused; nothing is silent."""

import pytest
import torch

import inlay
from inlay.errors import SiteError
from inlay.sites.example import example_inputs
from tests.contracts.families import FAMILIES

OWN_CODE = {"deberta", "deberta-v2", "gpt-j", "falcon", "bloom"}
"""Families whose attention does not go through transformers' attention functions."""

NO_ATTENTION = {"mamba", "convnext"}


def states(model):
    outputs = model(**example_inputs(model))
    return [v for v in outputs.values() if isinstance(v, torch.Tensor) and v.is_floating_point()]


def with_prefix(name, method, attention="sdpa"):
    model = FAMILIES[name].build()
    model.set_attn_implementation(attention)
    adapters = inlay.attach(model, sites=FAMILIES[name].sites)
    cross = "cross_attention" in adapters.sites.kinds()
    adapters.add("a", method, at="attention, cross_attention" if cross else "attention")
    return model


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - OWN_CODE - NO_ATTENTION))
def test_every_attention_sees_its_prefix(name):
    torch.manual_seed(3)
    model = with_prefix(name, inlay.Prefix(length=3, inner_width=None))
    entry = model.adapters.entry("a")
    for parameter in entry.parameters():
        parameter.data.copy_(torch.randn_like(parameter))
    with torch.no_grad():
        base = states(model)
        model.adapters.use("a")
        found = states(model)
    assert not all(torch.equal(one, two) for one, two in zip(base, found, strict=True))
    model.adapters.train("a")
    weights = [torch.linspace(0.1, 1.0, v.numel()).view_as(v) for v in found]
    sum((v * w).sum() for v, w in zip(states(model), weights, strict=True)).backward()
    unseen = [
        site
        for site, layer in entry.layers.items()
        if any(p.grad is None or not p.grad.any() for p in layer.parameters())
    ]
    assert unseen == []
    model.adapters.use(None)
    with torch.no_grad():
        assert all(torch.equal(x, y) for x, y in zip(base, states(model), strict=True))
    inlay.detach(model)
    assert all(
        type(m.config).__name__ != "_TappedConfig" for m in model.modules() if hasattr(m, "config")
    )


@pytest.mark.parametrize(
    "name", ["bert", "modernbert", "gpt2", "llama", "gemma3", "t5", "bart", "swin", "clip"]
)
def test_both_ways_to_compute_attention_agree(name):
    outputs = []
    for attention in ("sdpa", "eager"):
        torch.manual_seed(3)
        model = with_prefix(name, inlay.Prefix(length=3, inner_width=4), attention)
        torch.manual_seed(4)
        for parameter in model.adapters.entry("a").parameters():
            parameter.data.copy_(torch.randn_like(parameter))
        model.adapters.use("a")
        with torch.no_grad():
            outputs.append(states(model))
    for one, two in zip(*outputs, strict=True):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(OWN_CODE))
def test_what_cannot_be_done_is_refused(name):
    with pytest.raises(SiteError, match="by code of its own|no linear map of keys"):
        with_prefix(name, "prefix", "eager")


@pytest.mark.parametrize("name", sorted(NO_ATTENTION))
def test_without_attention_there_is_no_place(name):
    with pytest.raises(SiteError, match="'attention' matches no site"):
        with_prefix(name, "prefix", "eager")
