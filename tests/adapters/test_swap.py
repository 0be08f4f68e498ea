"""Exchanging weights follows ties, and comes back exactly."""

import torch
from torch import nn

import inlay
from inlay.adapters.swap import WeightSwap
from tests.contracts import tiny


def test_tied_weights_are_exchanged_everywhere():
    model = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
    model["b"].weight = model["a"].weight
    original = model["a"].weight
    swap = WeightSwap(model)
    new = nn.Parameter(torch.ones(3, 3))
    swap.apply({"a.weight": new})
    assert model["a"].weight is new
    assert model["b"].weight is new
    with swap.originals():
        assert model["b"].weight is original
    assert model["a"].weight is new
    swap.apply({})
    assert model["a"].weight is original
    assert model["b"].weight is original


def test_full_keeps_a_tied_head_tied():
    model = tiny.decoder("gpt2")
    inlay.attach(model)
    entry = model.adapters.add("full", "full")
    assert "transformer.wte.weight" in entry.weights
    assert "lm_head.weight" not in entry.weights
    model.adapters.use("full")
    assert model.lm_head.weight is model.transformer.wte.weight
    assert model.lm_head.weight is entry.weights["transformer.wte.weight"]
