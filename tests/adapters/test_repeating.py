"""Repeating a batch by hand."""

import pytest
import torch

import inlay
from inlay import Parallel, Rows, Stack
from inlay.errors import CompositionError


def test_the_rows_that_a_parallel_stands_for():
    batch = {"input_ids": torch.tensor([[1], [2]]), "use_cache": True}
    rows, repeated = inlay.repeat(Stack(Parallel("a", Rows("b", None)), "c"), batch)
    assert rows == Rows(Stack("a", "c"), Stack("a", "c"), Stack("b", "c"), "c")
    assert repeated["input_ids"].tolist() == [[1], [2], [1], [2]]
    assert repeated["use_cache"] is True
    rows, repeated = inlay.repeat("a", batch)
    assert rows == Rows("a", "a")


def test_what_does_not_fit():
    with pytest.raises(CompositionError, match="the batch has 3 rows; give tensors of 2 rows"):
        inlay.repeat(Rows("a", "b"), {"input_ids": torch.ones(3, 1)})
    with pytest.raises(CompositionError, match="the batch has no rows"):
        inlay.repeat("a", {"use_cache": True})
