"""A composition becomes active whole or not at all, and the base's weights follow it."""

import threading

import pytest
import torch

import inlay
from inlay.errors import AdapterError, CompositionError
from tests.contracts import tiny


@pytest.fixture
def model():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    for seed, name in enumerate("ab"):
        tiny.stir(adapters.add(name, "lora"), seed=seed)
    adapters.add("above", "lora", stack_on="a")
    with torch.no_grad():
        for copy in adapters.add("full", "full").weights.values():
            copy.mul_(1.5)
    return model


def test_names_are_looked_up_and_nothing_runs_yet(model):
    activating = model.adapters._activating
    node = inlay.Fuse("a", "b", name="mine")
    model.adapters.add_combiner(node)
    active = activating.checked(inlay.Stack("mine", "above"))
    assert active.composition == inlay.Stack(node, "a", "above")
    assert active.names == ("a", "b", "above")
    assert active.combinations == (node,)
    assert model.adapters.active is None


def test_what_cannot_run_changes_nothing(model):
    adapters = model.adapters
    adapters.use("full", skip_lowest=0)
    path = "encoder.layer.0.attention.self.query.weight"
    own = adapters.entry("full").weights[path]
    for composition, skip, error, message in (
        (inlay.Stack("a", "full"), 0, CompositionError, "can only be used alone"),
        ("c", 0, AdapterError, "no adapter 'c'"),
        ("a", 3, CompositionError, "skip_lowest=3: blocks are numbered 0 to 2"),
    ):
        with pytest.raises(error, match=message):
            adapters.use(composition, skip_lowest=skip)
        with pytest.raises(error, match=message), adapters.using(composition, skip_lowest=skip):
            raise AssertionError
        assert adapters.active == "full"
        assert adapters._running.dropping.lowest == 0
        assert model.get_parameter(path) is own


def test_weights_of_the_base_come_back_with_what_was_active_before(model):
    adapters, path = model.adapters, "encoder.layer.0.attention.self.query.weight"
    original, batch = model.get_parameter(path), tiny.batch()
    base = tiny.hidden(model, batch)
    adapters.use(inlay.Stack("full"))
    full = tiny.hidden(model, batch)
    assert not torch.allclose(full, base)
    with adapters.using("a"):
        assert model.get_parameter(path) is original
        with adapters.using(None):
            assert torch.equal(tiny.hidden(model, batch), base)
    assert torch.equal(tiny.hidden(model, batch), full)
    adapters.use(None)
    assert torch.equal(tiny.hidden(model, batch), base)


def test_a_combination_that_could_not_be_made_is_not_known(model):
    activating = model.adapters._activating
    node = inlay.Fuse("a", inlay.Fuse("a", "b"), name="mine")
    with pytest.raises(CompositionError, match="no learned weights on this model"):
        activating.check_new(node)
    with pytest.raises(CompositionError, match="Route Gate"):
        model.adapters.add_combiner(inlay.Route("a", "b", name="mine"), inlay.Fusion())
    assert activating.combinations == {}
    activating.check_new(inlay.Fuse("a", "b", name="mine"))
    assert activating.combinations == {}


def test_what_is_released_runs_no_longer(model):
    adapters = model.adapters
    adapters.use(inlay.Stack("a", "b"), skip_lowest=1)
    with pytest.raises(CompositionError, match="'b' is part of Stack"):
        adapters._activating.release("b")
    adapters.use("b", skip_lowest=1)
    adapters._activating.release("a")
    assert adapters.active == "b"
    adapters._activating.release("b")
    assert adapters.active is None
    assert adapters._running.dropping.lowest == 0


def test_what_one_thread_uses_is_not_seen_in_another(model):
    adapters, seen = model.adapters, []
    adapters.use("b")
    with adapters.using("above", skip_lowest=1):
        other = threading.Thread(
            target=lambda: seen.append((adapters.active, adapters._running.dropping.lowest))
        )
        other.start()
        other.join()
        assert adapters._running.dropping.lowest == 1
        assert adapters.active == inlay.Stack("a", "above")
    assert seen == [("b", 0)]
