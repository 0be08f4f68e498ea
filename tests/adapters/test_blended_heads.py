"""Heads are kept, averaged or left out as asked, and never lost."""

import pytest
import torch
from torch import nn

import inlay
from inlay.adapters.blended_heads import blended_heads
from inlay.errors import AdapterError, ConfigError
from tests.contracts import tiny


def entries(*heads):
    adapters = inlay.attach(tiny.encoder())
    made = [
        adapters.add(f"a{number}", "lora", at="q", head=head) for number, head in enumerate(heads)
    ]
    for number, entry in enumerate(made):
        if entry.head is not None:
            tiny.stir(entry.head, number)
    return made


def test_nothing_is_dropped_unasked():
    one, two = entries(nn.Linear(4, 2), nn.Linear(4, 2))
    with pytest.raises(AdapterError, match=r"heads of 'a0' and 'a1' differ.*heads=leave-out"):
        blended_heads([one, two], [1, 1], "same", None)
    assert blended_heads([one, two], [1, 1], "leave-out", None) == (None, {}, "left out")
    with pytest.raises(ConfigError, match="one of same, average, leave-out"):
        blended_heads([one, two], [1, 1], "mean", None)
    with pytest.raises(ConfigError, match="not both"):
        blended_heads([one, two], [1, 1], "average", one)
    without, other = entries(None, nn.Linear(4, 2))
    with pytest.raises(AdapterError, match="heads of 'a0' and 'a1' differ"):
        blended_heads([without, other], [1, 1], "same", None)
    with pytest.raises(AdapterError, match="have different shapes"):
        blended_heads([without, other], [1, 1], "average", None)
    with pytest.raises(AdapterError, match="head_of='a0' has no head"):
        blended_heads([without, other], [1, 1], "same", without)
    assert blended_heads([without], [1], "same", None) == (None, {}, "none")


def test_equal_heads_are_kept_and_one_can_be_chosen():
    one, two = entries(nn.Linear(4, 2), nn.Linear(4, 2))
    head, tensors, where = blended_heads([one, two], [1, 1], "same", two)
    assert where == "of 'a1'"
    assert head is not two.head
    assert torch.equal(tensors["head/weight"], two.head.weight)
    two.head.load_state_dict(one.head.state_dict())
    _, tensors, where = blended_heads([one, two], [1, 1], "same", None)
    assert where == "the same"
    assert torch.equal(tensors["head/bias"], one.head.bias)


def test_an_average_is_weighted_by_shares():
    one, two = entries(nn.Linear(4, 2), nn.Linear(4, 2))
    _, tensors, _ = blended_heads([one, two], [0.9, 0.3], "average", None)
    wanted = 0.75 * one.head.weight.double() + 0.25 * two.head.weight.double()
    torch.testing.assert_close(tensors["head/weight"], wanted.detach())
    with pytest.raises(AdapterError, match="add up to 0, so there is no mean"):
        blended_heads([one, two], [1, -1], "average", None)
    other = entries(nn.Linear(4, 2), nn.Linear(4, 3))
    with pytest.raises(AdapterError, match="for different labels"):
        blended_heads(other, [1, 1], "average", None)


def test_numbers_that_have_no_mean():
    one, two = entries(nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    assert "head/num_batches_tracked" in blended_heads([one, two], [1, 1], "average", None)[1]
    two.head.num_batches_tracked.add_(1)
    with pytest.raises(AdapterError, match="num_batches_tracked' holds whole numbers that differ"):
        blended_heads([one, two], [1, 1], "average", None)
