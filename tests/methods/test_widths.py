"""Inner widths from both settings."""

import pytest

from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.widths import check_widths, inner_width_at


@pytest.mark.parametrize(
    ("reduction", "inner_width", "place", "multiple", "expected"),
    [
        (4, None, Place(width=21), 1, 5),
        (100, None, Place(width=21), 1, 1),
        (4, 7, Place(width=21), 1, 7),
        (32, None, Place(width=768), 4, 24),
        (32, None, Place(width=24), 4, 4),
        (5, None, Place(width=100), 3, 21),
        ({"1": 3, "default": 7}, None, Place(width=21, block=1), 1, 7),
        ({"1": 3, "default": 7}, None, Place(width=21, block=0), 1, 3),
        ({"d.1": 21, "1": 3}, None, Place(width=21, block=1, submodel="d"), 1, 1),
    ],
)
def test_inner_width(reduction, inner_width, place, multiple, expected):
    assert inner_width_at("A", reduction, inner_width, place, multiple=multiple) == expected


def test_a_block_without_a_reduction():
    with pytest.raises(ConfigError, match=r"A\(reduction={'0': 3}\): no reduction for block 4"):
        inner_width_at("A", {"0": 3}, None, Place(width=21, block=4))


@pytest.mark.parametrize(
    ("reduction", "inner_width", "message"),
    [
        (0, None, r"A\(reduction=0\): reduction must be above 0"),
        ({"0": 2, "default": -1}, None, "reduction=-1"),
        (4, 0, "inner_width must be at least 1"),
        (2, 3, r"A\(reduction=2, inner_width=3\): give one of the two"),
    ],
)
def test_wrong_values(reduction, inner_width, message):
    with pytest.raises(ConfigError, match=message):
        check_widths("A", reduction, inner_width, usual=4)


def test_the_usual_reduction_beside_an_inner_width():
    check_widths("A", 4, 3, usual=4)
