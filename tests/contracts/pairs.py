"""Pairs of two lists of cases: each with some of the other by default, and all in `test-all`."""

from collections.abc import Collection, Iterable

import pytest


def pairs(ones: Iterable, others: Iterable, few: Collection, few_others: Collection) -> list:
    """Return every pair of two lists for `parametrize`; those outside both of the few are slow."""
    return [
        pytest.param(
            one, other, marks=() if one in few or other in few_others else pytest.mark.slow
        )
        for one in ones
        for other in others
    ]
