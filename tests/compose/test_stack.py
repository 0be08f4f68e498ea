"""Stacks are flat."""

from inlay import Average, Stack


def test_nested_stacks_are_flat():
    assert Stack(Stack("a", "b"), "c") == Stack("a", "b", "c") == Stack("a", Stack("b", "c"))
    assert Stack("a", "b") != Stack("b", "a")
    assert len({Stack("a"), Stack(Stack("a"))}) == 1
    inner = Average("b", "c")
    assert Stack("a", Stack(inner)).children == ("a", inner)
