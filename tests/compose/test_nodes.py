"""The algebra of names."""

import pytest

from inlay.compose.nodes import Stack, names_in
from inlay.errors import CompositionError


def test_nested_stacks_are_flat():
    assert Stack(Stack("a", "b"), "c") == Stack("a", "b", "c") == Stack("a", Stack("b", "c"))
    assert Stack("a", "b") != Stack("b", "a")
    assert len({Stack("a"), Stack(Stack("a"))}) == 1


def test_it_can_be_pasted_back():
    stack = Stack("a b", "it's")
    assert eval(repr(stack)) == stack


def test_names_in_the_order_they_run():
    assert names_in(None) == ()
    assert names_in("x") == ("x",)
    assert names_in(Stack("b", "a")) == ("b", "a")


def test_what_is_no_composition():
    with pytest.raises(CompositionError, match=r"Stack\(\): give at least one adapter"):
        Stack()
    with pytest.raises(CompositionError, match="3 is neither an adapter's name nor a stack"):
        Stack("a", 3)
    with pytest.raises(CompositionError, match=r"\['a'\] is no composition"):
        names_in(["a"])
