"""Weights of averages."""

import pytest

from inlay import Average
from inlay.errors import CompositionError


def test_equal_children_are_one_and_nested_averages_flat():
    assert Average("a", "a") == Average("a")
    assert Average("a", "b").weights == (0.5, 0.5)
    assert Average(Average("a", "b"), "a") == Average("a", "b", weights=(0.75, 0.25))
    nested = Average(Average("a", "b", weights=(0.25, 0.75)), "c", weights=(0.5, 0.5))
    assert nested == Average("a", "b", "c", weights=(0.125, 0.375, 0.5))


def test_weights_must_fit():
    with pytest.raises(CompositionError, match="2 children and 1 weights; give one for each"):
        Average("a", "b", weights=(1,))
    with pytest.raises(CompositionError, match="sum to 1.1; they must sum to 1"):
        Average("a", "b", weights=(0.5, 0.6))
    with pytest.raises(CompositionError, match="sum to nan"):
        Average("a", "b", weights=(0.5, float("nan")))
    assert Average("a", "b", weights=(1.5, -0.5)).weights == (1.5, -0.5), "extrapolation is allowed"
