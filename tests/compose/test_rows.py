"""Rows keep every place."""

from inlay import Rows, Stack


def test_every_row_has_its_own():
    rows = Rows("a", None, Stack("a", "b"), "a")
    assert rows.children == ("a", None, Stack("a", "b"), "a")
    assert rows.with_children(["x"]) == Rows("x")
