"""Answers of a tagging: for people, for files, and their confidence."""

import pytest

from inlay.tasks.tags import Tags

ROME = Tags(
    text="Fly  to New York!", tokens=("Fly", "to", "New", "York", "!"),
    places=((0, 3), (5, 7), (8, 11), (12, 16), (16, 17)),
    tags=("O", "O", "B-city", "I-city", "O"), spans=(("city", 2, 4),),
    probabilities=(0.9, 0.5, 0.8, 0.75, 0.99), is_raw=True,
)  # fmt: skip


def tags(tokens, given, spans=()):
    return Tags(
        text=" ".join(tokens), tokens=tuple(tokens), places=((0, 1),) * len(tokens),
        tags=tuple(given), spans=spans, probabilities=(0.25,) * len(tokens),
    )  # fmt: skip


def test_entities_have_the_characters_of_the_text_and_their_least_sure_tag():
    assert ROME.entities() == [
        {"type": "city", "text": "New York", "start": 8, "end": 16, "probability": 0.75}
    ]
    assert ROME.text[8:16] == "New York"
    assert ROME.confidence == 0.5


def test_lines_for_people():
    assert ROME.line(3) == "New York (city) 0.75"
    assert tags(["a", "b"], ["O", "O"]).line(3) == "(nothing found)  0.25"
    assert tags(["a", "b"], ["DET", "NOUN"], None).line(3) == "a/DET b/NOUN  0.25"
    assert tags(["a", "b"], ["O", "O"], None).line(3) == "(all O)  0.25"
    assert tags(["a"], ["B"], (("", 0, 1),)).line(3) == "a (entity) 0.25"
    assert ROME.answer == "New/B-city York/I-city"


def test_plain_data_and_columns():
    record = ROME.record(3)
    assert record["tags"] == ["O", "O", "B-city", "I-city", "O"]
    assert record["tokens"] == ["Fly", "to", "New", "York", "!"]
    assert record["confidence"] == 0.5
    assert list(ROME.columns(1)) == ["predicted_tokens", "predicted_tags", "predicted_entities"]
    assert list(tags(["a"], ["O"]).columns(1)) == ["predicted_tags", "predicted_entities"]
    assert tags(["a"], ["O"]).record(3)["entities"] == []


def test_tags_that_mark_no_entities_have_no_word_of_them():
    nouns = tags(["a", "b"], ["DET", "NOUN"], None)
    assert nouns.record(3) == {"tokens": ["a", "b"], "tags": ["DET", "NOUN"], "confidence": 0.25}
    assert nouns.columns(1) == {"predicted_tags": ["DET", "NOUN"]}
    assert nouns.entities() == []


@pytest.mark.parametrize("top", [1, 5])
def test_how_many_alternatives_are_asked_for_makes_no_difference(top):
    assert ROME.record(top) == ROME.record(3)
