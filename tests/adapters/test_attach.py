"""Putting adapters on a model and taking them off."""

import pytest
import torch

import inlay
from inlay.adapters.attach import adapters_of
from inlay.errors import AdapterError
from tests.contracts import tiny


def test_attach_twice_and_detach_twice():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    assert adapters_of(model) is adapters is model.adapters
    with pytest.raises(AdapterError, match="BertModel has adapters already; detach it first"):
        inlay.attach(model)
    inlay.detach(model)
    with pytest.raises(AdapterError, match=r"BertModel has no adapters; call `inlay.attach"):
        inlay.detach(model)


def test_an_attribute_of_the_models_own_is_not_overwritten():
    model = tiny.encoder()
    model.adapters = "mine"
    with pytest.raises(AdapterError, match="has an attribute 'adapters' already"):
        inlay.attach(model)
    assert model.adapters == "mine"


def test_the_training_mode_is_taken_over():
    model = tiny.encoder().train()
    inlay.attach(model)
    entry = model.adapters.add("a", inlay.Bottleneck(dropout=0.5))
    assert model.adapters.training
    assert entry.training
    model.eval()
    assert not entry.training


def test_detach_while_everything_is_on(tmp_path):
    model = tiny.encoder()
    before = tiny.hidden(model, tiny.batch())
    inlay.attach(model)
    for name, method in (("lora", "lora"), ("full", "full")):
        tiny.stir(model.adapters.add(name, method))
    model.adapters.train("full")
    inlay.detach(model)
    assert torch.equal(tiny.hidden(model, tiny.batch()), before)
    assert all(parameter.requires_grad for parameter in model.parameters())
    inlay.attach(model)
    tiny.stir(model.adapters.add("lora", "lora"))
    model.adapters.merge("lora")
    inlay.detach(model)
    assert torch.equal(tiny.hidden(model, tiny.batch()), before)
