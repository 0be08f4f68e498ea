"""The laws of blending, over every method."""

import dataclasses

import pytest
import torch

import inlay
from inlay.adapters.recipe import THINNING, WAYS
from inlay.errors import InlayError
from tests.contracts import tiny
from tests.contracts.methods import SITE_METHODS, WEIGHT_METHODS
from tests.contracts.pairs import pairs

ALL = {**SITE_METHODS, **{name: (method, None) for name, method in WEIGHT_METHODS.items()}}
LORAS = {
    "lora": inlay.LoRA(rank=3, alpha=7.0),
    "lora-wide": inlay.LoRA(rank=9, alpha=2.5, dropout=0.1),
    "lora-thin": inlay.LoRA(rank=1, alpha=16.0),
    "lora-sites": inlay.LoRA(rank=4, ranks={"q": 2, "1.ffn.up": 3}, scale="alpha/sqrt(rank)"),
    "lora-pissa": inlay.LoRA(rank=2, alpha=7.0, init="pissa"),
    "lora-magnitude": inlay.LoRA(rank=2, alpha=7.0, magnitude=True),
    "lora-both": inlay.LoRA(rank=2, alpha=7.0, init="pissa", magnitude=True),
}
SOME = ("compacter", "lora", "lora-both", "full")
"""A method with something shared, two of single maps, one of weights."""


def adapted(method, at, names=("a", "b")):
    model = tiny.classifier()
    adapters = tiny.attach(model)
    for seed, name in enumerate(names):
        tiny.stir(adapters.add(name, method, at=at), seed)
    return model


def same(one, two):
    assert one.method == two.method
    ours, theirs = one.tensors(), two.tensors()
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        assert torch.equal(tensor, theirs[key]), key


@pytest.mark.parametrize(("case", "way"), pairs([*ALL, *LORAS], WAYS, SOME, ["linear", "svd"]))
def test_identity_is_exact_or_refused_with_its_reason(case, way):
    """One adapter of weight 1 is itself bit for bit, whichever way; another of weight 0 is none."""
    method, at = (LORAS[case], "linear") if case in LORAS else ALL[case]
    model = adapted(method, at)
    settings = {"density": 1.0} if way in THINNING else {}
    if way == "svd":
        settings["rank"] = getattr(method, "rank", None) or 2
    for name, parts in (("one", ["a"]), ("other", {"b": 0.0, "a": 1.0})):
        has_factors = isinstance(method, inlay.LoRA) and not method.gate
        if way == "svd" and not has_factors:
            with pytest.raises(InlayError, match="svd is for lora"):
                inlay.blend(model, name, parts, method=way, **settings)
            continue
        made = inlay.blend(model, name, parts, method=way, **settings)
        same(model.adapters.entry(name), model.adapters.entry("a"))
        assert made.error == 0


@pytest.mark.parametrize("way", ["linear", "task-arithmetic", "cat"])
@pytest.mark.parametrize("case", LORAS)
def test_a_weighted_sum_is_the_weighted_sum_of_updates(case, way):
    """In particular 0.6 a + 0.4 b, for adapters of any rank and scale."""
    method = LORAS[case]
    model = adapted(method, "linear", names=("a",))
    tiny.stir(model.adapters.add("b", inlay.LoRA(rank=2, alpha=3.0), at="linear"), 1)
    made = inlay.blend(model, "c", {"a": 0.6, "b": 0.4}, method=way, head_of="a")
    a, b, c = (model.adapters.entry(name).layers for name in "abc")
    for site, layer in c.items():
        wanted = 0.6 * a[site].weight_update() + 0.4 * b[site].weight_update()
        torch.testing.assert_close(layer.weight_update(), wanted, atol=1e-6, rtol=1e-5)
    assert made.error < 1e-6


@pytest.mark.parametrize("case", ALL)
def test_linear_of_equal_adapters_is_that_adapter(case):
    method, at = ALL[case]
    model = adapted(method, at)
    a, b = model.adapters.entry("a"), model.adapters.entry("b")
    for key, tensor in b.tensors().items():
        tensor.copy_(a.tensors()[key])
    inlay.blend(model, "c", {"a": 0.3, "b": 0.7})
    inputs = tiny.batch()
    with model.adapters.using("a"):
        wanted = tiny.hidden(model, inputs)
    with model.adapters.using("c"):
        torch.testing.assert_close(tiny.hidden(model, inputs), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", ALL)
def test_a_blend_can_be_trained_saved_and_removed(case, tmp_path):
    method, at = ALL[case]
    model = adapted(method, at)
    inputs = tiny.batch()
    before = tiny.hidden(model, inputs)
    inlay.blend(model, "c", {"a": 0.3, "b": 0.7}, heads="average")
    assert torch.equal(tiny.hidden(model, inputs), before), "a blend is inactive"
    inlay.save(model, "c", tmp_path / "c")
    inlay.load(model, tmp_path / "c", name="d")
    same(model.adapters.entry("c"), model.adapters.entry("d"))
    assert dataclasses.asdict(model.adapters.entry("d").method) == dataclasses.asdict(
        model.adapters.entry("c").method
    )
    model.adapters.train("c")
    model(**inputs, labels=torch.tensor([0, 1, 2])).loss.backward()
    assert any(p.grad is not None for p in model.adapters.entry("c").parameters())
    model.adapters.remove("c")
    model.adapters.remove("d")
    assert torch.equal(tiny.hidden(model, inputs), before)
