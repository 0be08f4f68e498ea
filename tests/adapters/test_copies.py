"""Copies of base weights beside an adapter's method."""

import pytest
import torch

import inlay
from inlay.adapters.copies import add_copies
from inlay.errors import AdapterError, CompositionError
from tests.contracts import tiny

PATH = "encoder.layer.1.output.dense.bias"


@pytest.fixture
def model():
    model = tiny.encoder()
    tiny.stir(inlay.attach(model).add("a", "lora[rank=2]", at="q"))
    return model


def moved(model):
    entry = model.adapters.entry("a")
    add_copies(model.adapters, entry, [PATH])
    entry.weights[PATH].data.add_(1.0)
    return entry


def test_they_stand_in_the_place_of_the_originals_while_the_adapter_acts(model):
    twin = tiny.encoder()
    twin.get_parameter(PATH).data.add_(1.0)
    tiny.stir(inlay.attach(twin).add("a", "lora[rank=2]", at="q"))
    before = tiny.hidden(model, tiny.batch())
    entry = moved(model)
    assert torch.equal(tiny.hidden(model, tiny.batch()), before)
    for either in (model, twin):
        either.adapters.use("a")
    assert torch.equal(tiny.hidden(model, tiny.batch()), tiny.hidden(twin, tiny.batch()))
    assert entry.num_adapter_parameters == 3 * 2 * 2 * 24 + 24
    model.adapters.use(None)
    assert torch.equal(tiny.hidden(model, tiny.batch()), before)


def test_they_learn_with_the_adapter(model):
    entry = moved(model)
    model.adapters.train("a")
    model(**tiny.batch()).last_hidden_state.sum().backward()
    assert entry.weights[PATH].grad.abs().max() > 0
    assert model.get_parameter(PATH) is entry.weights[PATH]
    model.adapters.use(None)
    assert not model.get_parameter(PATH).requires_grad


def test_saved_and_loaded(model, tmp_path):
    moved(model).imported = {"format": "peft", "notes": ["one"]}
    inlay.save(model, "a", tmp_path / "a")
    again = tiny.encoder()
    inlay.load(again, tmp_path / "a")
    for either in (model, again):
        either.adapters.use("a")
    assert torch.equal(tiny.hidden(model, tiny.batch()), tiny.hidden(again, tiny.batch()))
    assert again.adapters.entry("a").imported == {"format": "peft", "notes": ["one"]}


def test_what_cannot_be_done_with_them(model):
    moved(model)
    model.adapters.add("b", "lora[rank=2]", at="q")
    with pytest.raises(CompositionError, match="'a' exchanges the base's own weights and can only"):
        model.adapters.use(inlay.Stack("a", "b"))
    with pytest.raises(AdapterError, match="has copies of base weights beside its update"):
        model.adapters.merge("a")
    with pytest.raises(AdapterError, match="'a' has copies of base weights beside its layers"):
        inlay.blend(model, "c", {"a": 0.5, "b": 0.5})
    with pytest.raises(AdapterError, match="no copy of '.*' can be made, as the adapter has one"):
        moved(model)
    model.adapters.use("a")
    with pytest.raises(CompositionError, match="it is part of 'a', which is active"):
        moved(model)


def test_weights_that_have_no_copy(model):
    entry = model.adapters.entry("a")
    with pytest.raises(AdapterError, match="'encoder.typo' can be made, as the base has no such"):
        add_copies(model.adapters, entry, ["encoder.typo"])
    tied = tiny.decoder("gpt2")
    entry = inlay.attach(tied).add("a", "lora[rank=2]")
    with pytest.raises(AdapterError, match="as the base ties it to 'lm_head.weight'"):
        add_copies(tied.adapters, entry, ["transformer.wte.weight"])
    assert not entry.weights
