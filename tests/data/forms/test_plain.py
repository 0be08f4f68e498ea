"""Running text."""

from collections import Counter

from inlay.data.forms.base import Place
from inlay.data.forms.plain import Plain


def read(text, line=1):
    return Plain().example({"text": text}, Place("f", line), Counter(), has_target=True)


def test_a_passage_is_its_text():
    assert (read("some words").text, read("some words").label) == ("some words", "")
    assert read("  ") == "text is empty"


def test_passages_of_one_stretch_stay_in_one_split():
    groups = [Plain().group(read("x", line)) for line in (1, 499, 500, 1200)]
    assert groups[0] == groups[1] != groups[2] != groups[3]
