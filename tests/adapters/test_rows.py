"""Rows are taken apart and put back in order."""

import torch

from inlay import Parallel, Rows
from inlay.adapters.rows import RowGroups, picked
from inlay.compose.plan import make_plan

CPU = torch.device("cpu")


def test_there_and_back():
    plan = make_plan(Parallel(Rows("a", None, "b"), "a"))
    groups = RowGroups(plan, 12, CPU)
    x = torch.arange(12)
    assert groups.index["a"].tolist() == [0, 1, 6, 7, 8, 9, 10, 11]
    assert groups.index[None].tolist() == [2, 3]
    parts = [x.index_select(0, index) for index in groups.index.values()]
    assert torch.equal(groups.joined(parts), x)


def test_rows_of_a_calls_arguments():
    x, index = torch.arange(6).view(3, 2), torch.tensor([2, 0])
    found = picked((x, {"y": x, "n": 3}, torch.ones(2), None), index, 3)
    assert found[0].tolist() == found[1]["y"].tolist() == [[4, 5], [0, 1]]
    assert found[1]["n"] == 3
    assert len(found[2]) == 2
    assert found[3] is None
