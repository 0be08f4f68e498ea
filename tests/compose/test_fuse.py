"""The key of learned weights."""

import pytest

from inlay import Fuse, Stack
from inlay.errors import CompositionError


def test_the_key_is_the_name_or_the_text():
    assert Fuse("a", Stack("b c", "d")).key == 'fuse(a, stack("b c", d))'
    assert Fuse("a", "b", name="mine").key == "mine"
    assert Fuse("a", "b", name="mine") != Fuse("a", "b")


def test_children_must_differ():
    for children in (("a",), ("a", "a")):
        with pytest.raises(CompositionError, match="Fuse: give at least two different children"):
            Fuse(*children)
