"""New weights against the weighted sum of updates, formed in full."""

import math

import pytest
import torch

import inlay
from inlay.adapters.joining import blend_lora, join_bottlenecks
from inlay.adapters.recipe import Recipe
from inlay.errors import AdapterError
from inlay.ops.blending import dare, ties
from tests.contracts import tiny

WEIGHTS = {"a": 0.6, "b": -1.3, "c": 0.4}


@pytest.fixture(scope="module")
def loras():
    """Three LoRAs of different rank and scale."""
    model = tiny.encoder()
    adapters = inlay.attach(model)
    for seed, (name, rank) in enumerate((("a", 3), ("b", 2), ("c", 5))):
        method = inlay.LoRA(rank=rank, alpha=7.0 + seed)
        tiny.stir(adapters.add(name, method, at="q, up"), seed)
    return [adapters.entry(name) for name in WEIGHTS]


def recipe(way, **settings):
    return Recipe(way=way, parts=WEIGHTS, **settings)


def updates(entries, site):
    return [
        entry.method.alpha / entry.method.rank
        * (entry.layers[site].b.double() @ entry.layers[site].a.double()).detach()
        for entry in entries
    ]  # fmt: skip


def made(blended, site):
    return blended.tensors[f"site/{site}/b"] @ blended.tensors[f"site/{site}/a"]


def test_cat_is_the_weighted_sum(loras):
    blended = blend_lora(loras, recipe("cat"))
    assert (blended.method.rank, blended.method.alpha, blended.error) == (10, 10.0, 0.0)
    for site in loras[0].layers:
        wanted = sum(w * d for w, d in zip(WEIGHTS.values(), updates(loras, site), strict=True))
        torch.testing.assert_close(made(blended, site), wanted, atol=1e-12, rtol=1e-12)
        assert blended.tensors[f"site/{site}/a"].shape[0] == 10


@pytest.mark.parametrize("rank", [None, 2, 10, 30])
def test_linear_is_the_nearest_of_its_rank(loras, rank):
    blended = blend_lora(loras, recipe("linear", rank=rank))
    rank = rank or 10
    assert (blended.method.rank, blended.method.alpha) == (rank, float(rank))
    lost = total = 0.0
    for site in loras[0].layers:
        wanted = sum(w * d for w, d in zip(WEIGHTS.values(), updates(loras, site), strict=True))
        tail = torch.linalg.svdvals(wanted)[rank:].square().sum()
        off = (made(blended, site) - wanted).square().sum()
        assert float(off) == pytest.approx(float(tail), abs=1e-12)
        relative = float((off / wanted.square().sum()).sqrt())
        assert blended.errors[site] == pytest.approx(relative, abs=1e-7)
        lost, total = lost + float(off), total + float(wanted.square().sum())
    assert blended.error == pytest.approx(math.sqrt(lost / total), abs=1e-7)
    assert (blended.error > 0.01) == (rank < 10)


def test_ties_and_dare_work_on_updates(loras):
    full, weights = 24, tuple(WEIGHTS.values())
    blended = blend_lora(loras, recipe("ties", density=0.4, rank=full, scaling=2.0))
    for site in loras[0].layers:
        torch.testing.assert_close(
            made(blended, site), 2 * ties(updates(loras, site), weights, 0.4)
        )
    thinned = recipe("dare", density=0.4, rank=full, seed=3)
    blended = blend_lora(loras, thinned)
    for site in loras[0].layers:
        seeds = [thinned._seed(site, name) for name in WEIGHTS]
        wanted = dare(updates(loras, site), weights, 0.4, seeds)
        torch.testing.assert_close(made(blended, site), wanted)
        assert blended.errors[site] < 1e-12
    assert blend_lora(loras, recipe("dare", density=0.4, seed=3)).error > 0.1


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scaling": "channel", "norm_before": True},
        {"scaling": "learned", "hidden_layers": 3, "input": "r"},
        {"scaling": 4.0, "activation": "tanh", "input": "x"},
    ],
)
def test_bottlenecks_side_by_side(settings):
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    for seed, (name, reduction) in enumerate((("a", {"1": 3, "default": 4}), ("b", 5), ("c", 7))):
        method = inlay.Bottleneck(**{"activation": "gelu", "reduction": reduction, **settings})
        tiny.stir(adapters.add(name, method, at="ffn, attention"), seed)
    entries = [adapters.entry(name) for name in WEIGHTS]
    blended = join_bottlenecks(entries, recipe("cat"), adapters.sites)
    wide = adapters.add("wide", blended.method, at="ffn, attention")
    for key, value in wide.tensors().items():
        value.copy_(blended.tensors[key])
    h, x = torch.randn(2, 2, 5, 24, generator=torch.Generator().manual_seed(1)).double()
    for site, layer in wide.layers.items():
        parts = [entry.layers[site](h, x) - x for entry in entries]
        wanted = sum(w * part for w, part in zip(WEIGHTS.values(), parts, strict=True))
        torch.testing.assert_close(layer(h, x) - x, wanted, atol=1e-12, rtol=1e-10)
        assert wanted.abs().max() > 0.01


def test_a_norm_that_comes_last_cannot_be_summed():
    adapters = inlay.attach(tiny.encoder())
    entries = [adapters.add(name, inlay.Bottleneck(norm_after=True)) for name in WEIGHTS]
    with pytest.raises(AdapterError, match="a sum of normed updates is no normed update"):
        join_bottlenecks(entries, recipe("cat"), adapters.sites)


def variants(*methods):
    """Return adapters of these settings, named as in `WEIGHTS`."""
    adapters = inlay.attach(tiny.encoder().double())
    for seed, (name, method) in enumerate(zip(WEIGHTS, methods, strict=True)):
        tiny.stir(adapters.add(name, method, at="q, up"), seed)
    return adapters, [adapters.entry(name) for name in WEIGHTS]


MIXED = (
    inlay.LoRA(rank=3, alpha=7.0, magnitude=True),
    inlay.LoRA(rank=2, alpha=3.0, init="pissa", magnitude=True),
    inlay.LoRA(rank=4, ranks={"up": 1}, scale="alpha/sqrt(rank)"),
)


@pytest.mark.parametrize("way", ["linear", "cat", "task-arithmetic"])
def test_a_weighted_sum_with_magnitudes_is_one(way):
    """Whatever the parts are: DoRA, PiSSA with magnitudes, plain LoRA of other ranks by site."""
    adapters, entries = variants(*MIXED)
    blended = blend_lora(entries, recipe(way))
    assert blended.method.magnitude
    assert blended.error < 1e-7
    new = adapters.add("new", blended.method, at="q, up")
    for key, value in new.tensors().items():
        value.copy_(blended.tensors[key])
    for site, layer in new.layers.items():
        assert len(layer.a) == (3 + 4 + 4 if site.endswith("q") else 3 + 4 + 1)
        parts = [entry.layers[site].weight_update() for entry in entries]
        wanted = sum(w * part for w, part in zip(WEIGHTS.values(), parts, strict=True))
        torch.testing.assert_close(layer.weight_update(), wanted, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize(
    "settings", [{"way": "linear", "rank": 2}, {"way": "ties", "density": 0.4}]
)
def test_what_a_rank_leaves_out_of_magnitudes_is_told(settings):
    adapters, entries = variants(*MIXED)
    blended = blend_lora(entries, recipe(**settings))
    assert blended.method.magnitude == (settings["way"] == "linear"), "thinned rows are no rows"
    new = adapters.add("new", blended.method, at="q, up")
    for key, value in new.tensors().items():
        value.copy_(blended.tensors[key])
    for site, layer in new.layers.items():
        parts = [entry.layers[site].weight_update().detach() for entry in entries]
        wanted = sum(w * part for w, part in zip(WEIGHTS.values(), parts, strict=True))
        if settings["way"] == "ties":
            wanted = ties(parts, tuple(WEIGHTS.values()), 0.4)
        off = (layer.weight_update() - wanted).norm() / wanted.norm()
        assert blended.errors[site] == pytest.approx(float(off), rel=1e-4)
        assert off > 0.01


def test_a_row_that_magnitudes_cancel():
    _, entries = variants(*[inlay.LoRA(rank=1, magnitude=True)] * 3)
    for entry in entries:
        layer = entry.layers["1.ffn.up"]
        layer.b.data.zero_()
        layer.magnitude.data.copy_(-2 * layer.base_weight().norm(dim=1))  # a stretch of -2
    halves = Recipe(way="linear", parts={"a": 0.25, "b": 0.125, "c": 0.125})
    with pytest.raises(AdapterError, match="cancel an output channel of the base at '1.ffn.up'"):
        blend_lora(entries, halves)
