"""The key of learned weights."""

import pytest

from inlay import Route, Stack
from inlay.errors import CompositionError


def test_the_key_is_the_name_or_the_text():
    assert Route("a", Stack("b c", "d")).key == 'route(a, stack("b c", d))'
    assert Route("a", "b", name="mine").key == "mine"
    assert Route("a", "b", name="mine") != Route("a", "b")


def test_children_must_differ():
    for children in (("a",), ("a", "a")):
        with pytest.raises(CompositionError, match="Route: give at least two different children"):
            Route(*children)
