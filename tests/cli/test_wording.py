import pytest

from inlay.cli import wording


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (999, "999"), (13083, "13 083"), (22713216, "22 713 216")]
)
def test_count(number, words):
    assert wording.count(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(812, "812"), (46_100, "46.1k"), (22_713_216, "22.7M"), (1_100_000_000, "1.1B")],
)
def test_weights(number, words):
    assert wording.weights(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (110, "1 min 50 s"), (7500, "2 h 5 min")],
)
def test_duration(seconds, words):
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(-3, "0:00"), (9.6, "0:10"), (110, "1:50"), (7500, "2:05:00")]
)
def test_clock(seconds, words):
    assert wording.clock(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 B"), (999, "999 B"), (1800, "1.8 kB"), (46_300, "46 kB"), (25e9, "25 GB")],
)
def test_size(number, words):
    assert wording.size(number) == words


def test_plural():
    assert wording.plural(1, "row") == "1 row"
    assert wording.plural(0, "row") == "0 rows"
    assert wording.plural(1200, "row") == "1 200 rows"


def test_percent():
    assert wording.percent(0.7918) == "79.2 %"
    assert wording.percent(0.16, 0) == "16 %"
