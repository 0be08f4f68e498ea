"""Pairs of two lists of cases: each with some of the other by default, and all in `test-all`."""

from collections.abc import Collection

import pytest


def pairs(ones: Collection, others: Collection, few: Collection, few_others: Collection) -> list:
    """Return every pair of two lists for `parametrize`; those outside both of the few are slow."""
    assert {*few} <= {*ones} and {*few_others} <= {*others}, "the few are cases no more"
    return [
        pytest.param(
            one, other, marks=() if one in few or other in few_others else pytest.mark.slow
        )
        for one in ones
        for other in others
    ]
