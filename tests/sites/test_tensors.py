"""The first floating-point tensor in whatever a module returns."""

from typing import NamedTuple

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from inlay.sites import tensors as T

IDS, ONE, TWO = torch.arange(3), torch.ones(2), torch.full((2,), 2.0)


class Pair(NamedTuple):
    first: object
    second: object


@pytest.mark.parametrize(
    "value",
    [ONE, (ONE,), (IDS, ONE, TWO), [None, [ONE], TWO], Pair(IDS, ONE), {"ids": IDS, "x": ONE},
     BaseModelOutput(last_hidden_state=ONE), ((None, (ONE, IDS)),)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_found_and_replaced_in_place_of_the_first(value):
    assert T.first_float(value) is ONE
    changed = T.replace_first_float(value, TWO)
    assert type(changed) is type(value)
    assert T.first_float(changed) is TWO
    assert T.first_float(value) is ONE, "the original is not touched"


@pytest.mark.parametrize("value", [None, IDS, (), [IDS, None], {"a": 3}, "text"])
def test_nothing_to_find(value):
    assert T.first_float(value) is None
    assert not T.is_float(value)


def test_the_rest_is_kept():
    assert T.replace_first_float((IDS, ONE, TWO), TWO)[0] is IDS
    assert T.replace_first_float((IDS,), TWO) == (IDS,)


def test_arguments_before_keywords():
    assert T.first_float_argument((IDS, ONE), {"x": TWO}) is ONE
    assert T.first_float_argument((IDS,), {"n": 3, "x": TWO}) is TWO
    assert T.first_float_argument((), {}) is None
    assert T.replace_first_argument((IDS, ONE), {"x": ONE}, TWO) == ((IDS, TWO), {"x": ONE})
    assert T.replace_first_argument((IDS,), {"x": ONE}, TWO) == ((IDS,), {"x": TWO})
