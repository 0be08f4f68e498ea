"""What all expressions share."""

import copy
import pickle

import pytest

from inlay import Average, Fuse, Parallel, Route, Rows, Stack
from inlay.compose.nodes import names_in, text_of, walk
from inlay.errors import CompositionError

EVERY = [
    Stack("a b", "it's"),
    Parallel("a", None),
    Average("a", "b", weights=(0.3, 0.7)),
    Fuse("a", "b", name="two"),
    Route("a", Stack("b", "c")),
    Rows("a", None, "a"),
]


@pytest.mark.parametrize("node", EVERY, ids=str)
def test_it_is_a_plain_value(node):
    assert eval(repr(node)) == node
    assert copy.deepcopy(node) == pickle.loads(pickle.dumps(node)) == node
    assert len({node, eval(repr(node))}) == 1
    assert node.with_children(node.children) == node
    with pytest.raises(AttributeError, match="cannot assign"):
        node.children = ()


def test_names_in_the_order_they_are_written():
    assert names_in(None) == ()
    assert names_in("x") == ("x",)
    assert names_in(Stack("b", "a")) == ("b", "a")
    assert names_in(Parallel(Stack("b", "a"), None, Average("c", "b"))) == ("b", "a", "c")


def test_what_is_no_composition():
    with pytest.raises(CompositionError, match=r"\['a'\] is no composition"):
        names_in(["a"])
    for node in (Stack, Parallel, Average, Fuse, Route, Rows):
        with pytest.raises(CompositionError, match=rf"{node.__name__}\(\): give at least one"):
            node()
        with pytest.raises(CompositionError, match="3 is neither an adapter's name"):
            node("a", 3)
    for node in (Stack, Fuse, Route):
        with pytest.raises(CompositionError, match="None is neither"):
            node("a", None)


def test_odd_names_are_quoted():
    assert text_of("a-b/c.d_2") == "a-b/c.d_2"
    assert text_of("a b") == '"a b"'
    assert text_of("none") == '"none"'
    assert text_of(None) == "none"


def test_walk_meets_every_expression():
    inner = Average("a", "b")
    assert walk(Stack(inner, "c")) == [Stack(inner, "c"), inner]
    assert walk("a") == walk(None) == []
