"""Parallels are flat."""

from inlay import Parallel, Rows


def test_nested_parallels_are_flat_and_in_order():
    assert Parallel(Parallel("a", None), "c") == Parallel("a", None, "c")
    assert Parallel("a", "a").children == ("a", "a"), "asked twice, answered twice"
    assert Parallel("a") != Rows("a")
