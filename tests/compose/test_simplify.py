"""The plainest form."""

from inlay import Average, Fuse, Parallel, Rows, Stack
from inlay.compose.simplify import simplify


def test_one_alone_is_itself():
    for node in (Stack, Average, Parallel):
        assert simplify(node("a")) == "a"
    assert simplify(Stack(Average(Stack("a"), "a"))) == "a"
    assert simplify(Rows("a")) == Rows("a"), "it says how many rows there are"
    assert simplify(None) is None


def test_inside_out():
    assert simplify(Fuse(Stack("a"), "b", name="n")) == Fuse("a", "b", name="n")
    assert simplify(Stack(Parallel("a"), "b")) == Stack("a", "b")
    assert simplify(Stack(Average(None, None), "b")) == "b", "the base in a stack is nothing"
    assert simplify(Stack(Average(None))) is None
