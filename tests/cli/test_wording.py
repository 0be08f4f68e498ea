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


@pytest.mark.parametrize("width", range(12, 40))
def test_lines_keep_numbers_with_their_units_and_hyphens_whole(width):
    text = "macro-F1 49.1 %   of 13 083 rows in-scope accuracy 100.0 % once"
    lines = wording.wrap(text, width, first="> ", rest="  ")
    assert lines[0].startswith("> ")
    assert all(line.startswith("  ") and len(line) <= width for line in lines[1:])
    words = [line[2:] for line in lines]
    assert " ".join(" ".join(words).split()) == " ".join(text.split())
    for whole in ("49.1 %", "13 083", "in-scope", "100.0 %", "macro-F1"):
        assert sum(whole in line for line in words) == 1


def test_what_is_held_together_gets_a_line_of_its_own():
    assert wording.wrap("a b\N{NO-BREAK SPACE}c\N{NO-BREAK SPACE}d e", 6) == ["a", "b c d", "e"]


def test_labels_of_words_are_tags():
    assert wording.labels("tagging", 1) == "1 tag"
    assert wording.labels("tagging", 13) == "13 tags"
    assert wording.labels("text-classification", 1) == "1 label"
