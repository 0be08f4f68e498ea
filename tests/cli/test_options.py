import pytest

from inlay.cli.options import parse_label_map, parse_share
from inlay.errors import ConfigError, DataError


def test_label_map():
    assert parse_label_map(None) == {}
    assert parse_label_map(["Good=good", "a=b=c"]) == {"Good": "good", "a": "b=c"}


@pytest.mark.parametrize("part", ["Good", "=good", "Good="])
def test_label_map_without_two_sides(part):
    with pytest.raises(ConfigError, match=r"write OLD=NEW, like --map-label Good=good\."):
        parse_label_map([part])


def test_label_map_to_two_labels():
    with pytest.raises(ConfigError, match="'a' cannot be both 'b' and 'c'"):
        parse_label_map(["a=b", "a=c"])


def test_share():
    assert parse_share(None) is None
    assert parse_share("5%") == parse_share("0.05") == 0.05
    with pytest.raises(DataError, match="is not a fraction"):
        parse_share("many")
