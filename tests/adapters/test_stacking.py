"""An adapter above another: its name stands for both, and only it is trained."""

import pytest
import torch

import inlay
from inlay.errors import AdapterError, CompositionError
from tests.contracts import tiny


@pytest.fixture
def stacked():
    """An adapter that runs above another one wherever it is named."""
    model = tiny.encoder()
    adapters = inlay.attach(model)
    tiny.stir(adapters.add("shared", "lora", layers="upper"))
    tiny.stir(adapters.add("task", inlay.Bottleneck(reduction=3), stack_on="shared"), seed=4)
    return model


def test_the_name_of_a_stacked_adapter_stands_for_the_stack(stacked):
    adapters, batch = stacked.adapters, tiny.batch()
    with adapters.using("task"):
        named = tiny.hidden(stacked, batch)
        assert adapters.active == inlay.Stack("shared", "task")
    alone = inlay.attach(twin := tiny.encoder())
    for name, method in (("shared", "lora"), ("task", inlay.Bottleneck(reduction=3))):
        entry = alone.add(name, method, layers="upper" if name == "shared" else "all")
        entry.load_state_dict(adapters.entry(name).state_dict())
    with alone.using(inlay.Stack("shared", "task")):
        assert torch.equal(named, tiny.hidden(twin, batch))
    with alone.using("task"):
        assert not torch.equal(named, tiny.hidden(twin, batch))


def test_what_is_below_is_never_run_twice(stacked):
    adapters = stacked.adapters
    adapters.add("top", "lora", stack_on="task")
    for composition in ("top", inlay.Stack("shared", "task", "top"), inlay.Stack("task", "top")):
        adapters.use(composition)
        assert adapters.active == inlay.Stack("shared", "task", "top")
        adapters.use(adapters.active)
        assert adapters.active == inlay.Stack("shared", "task", "top")


def test_rows_of_stacked_adapters_are_as_each_alone(stacked):
    adapters, batch = stacked.adapters, tiny.batch()
    tiny.stir(adapters.add("other", "lora", at="o", stack_on="shared"), seed=5)
    with adapters.using(inlay.Rows("task", "other", None)):
        mixed = tiny.hidden(stacked, batch)
    for row, name in enumerate(("task", "other", None)):
        with adapters.using(name):
            torch.testing.assert_close(mixed[row], tiny.hidden(stacked, batch)[row])


def test_training_a_stacked_adapter_leaves_what_is_below(stacked):
    adapters = stacked.adapters
    adapters.train("task")
    assert adapters.in_training == ("task",)
    assert adapters.active == inlay.Stack("shared", "task")
    learning = {
        name
        for name in adapters.names
        if any(p.requires_grad for p in adapters.entry(name).parameters())
    }
    assert learning == {"task"}
    adapters.train(inlay.Stack("shared", "task"))
    assert adapters.in_training == ("shared", "task")


def test_what_others_are_stacked_on_stays(stacked):
    adapters = stacked.adapters
    adapters.use("task")
    with pytest.raises(CompositionError, match="'task' is stacked on 'shared'; remove that first"):
        adapters.remove("shared")
    adapters.remove("task")
    assert adapters.active is None
    adapters.remove("shared")
    assert adapters.names == ()


def test_what_cannot_be_stacked_leaves_nothing(stacked):
    adapters = stacked.adapters
    adapters.add("full", "full")
    node = inlay.Fuse("shared", "full2", name="mine")
    adapters.add("full2", "lora")
    adapters.add_combiner(node)
    before = adapters.names
    for below, method, message in (
        ("full", "lora", "'full' is of method 'full', which exchanges the base's own weights"),
        ("shared", "top:1", "'new' is of method 'top', which exchanges the base's own weights"),
        (
            "mine",
            "lora",
            r"'mine' is the learned weights of .*, which an adapter cannot be stacked",
        ),
    ):
        with pytest.raises(CompositionError, match=message):
            adapters.add("new", method, stack_on=below)
    with pytest.raises(AdapterError, match="no adapter 'shard' on this model.* mean 'shared'"):
        adapters.add("new", "lora", stack_on="shard")
    assert adapters.names == before


def test_a_head_alone_above_an_adapter(stacked):
    adapters, batch = stacked.adapters, tiny.batch()
    adapters.add("head", "head", head=torch.nn.Linear(24, 2), stack_on="shared")
    with adapters.using("head"):
        above = tiny.hidden(stacked, batch)
    with adapters.using("shared"):
        assert torch.equal(above, tiny.hidden(stacked, batch))


def test_a_stacked_adapter_cannot_be_merged(stacked):
    stacked.adapters.add("top", "lora", stack_on="shared")
    with pytest.raises(AdapterError, match="'top' is stacked on 'shared', and only one adapter"):
        stacked.adapters.merge("top")
