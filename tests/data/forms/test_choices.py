"""Questions with choices: the right one by number, letter or text."""

from collections import Counter

import pytest

from inlay.data.forms.base import Place
from inlay.data.forms.choices import Choices
from inlay.data.forms.registry import match
from inlay.data.table import MISSING, Table

THREE = ["red", "green", "blue"]


def read(label, choices=THREE, question="which?", *, has_target=True):
    cells = {"question": question, "choices": choices, "label": label}
    return Choices().example(cells, Place("f", 1), Counter(), has_target=has_target)


@pytest.mark.parametrize("label", [1, "1", "B", "b", "green"])
def test_the_right_one_is_found(label):
    row = read(label)
    assert row.parts == {"choices": THREE, "index": 1}
    assert row.label == "green"


def test_choices_may_be_an_object_of_texts():
    assert read(0, {"text": THREE, "label": ["A", "B", "C"]}).parts["choices"] == THREE


@pytest.mark.parametrize(
    ("label", "choices", "question", "reason"),
    [
        (3, THREE, "q", "label 3 is outside the 3 choices, counted from 0"),
        (-1, THREE, "q", "label -1 is outside"),
        ("pink", THREE, "q", "label 'pink' is neither a choice nor its number or letter"),
        (True, THREE, "q", "label True is neither"),
        (None, THREE, "q", "label is missing"),
        (0, ["one"], "q", "1 choice; two or more are needed"),
        (0, None, "q", "choices are missing"),
        (0, "a b", "q", "choices are a text"),
        (0, ["a", ""], "q", "choice 1 is empty"),
        (0, THREE, " ", "question is empty"),
    ],
)
def test_what_cannot_be_used_says_why(label, choices, question, reason):
    assert read(label, choices, question).startswith(reason)


def test_a_prediction_needs_no_label():
    assert read(None, has_target=False).parts == {"choices": THREE}


@pytest.mark.parametrize(
    ("names", "label"),
    [(["1", "2", "3"], "2"), (["B", "A", "C"], "A"), (["1", "2", "3"], 2), ([1, 2, 3], "2")],
)
def test_names_of_choices_win_over_their_places(names, label):
    row = read(label, {"text": THREE, "label": names})
    assert (row.parts["index"], row.label) == (1, "green")


def test_choices_in_a_table_are_json():
    assert read(1, '["red", "green", "blue"]').parts == {"choices": THREE, "index": 1}


def with_context(context, *, has_target=True):
    cells = {"question": "which?", "choices": THREE, "label": 1, "context": context}
    return Choices().example(cells, Place("f", 1), Counter(), has_target=has_target)


def test_a_context_is_read_beside_the_question():
    row = with_context("It is dark.")
    assert (row.text, row.pair) == ("which?", "It is dark.")
    assert Choices().asked(row) == {
        "question": "which?", "choices": THREE, "context": "It is dark."
    }  # fmt: skip
    for nothing in (None, MISSING, "", " "):
        assert with_context(nothing).pair is None
    assert with_context(3) == "context is a number, not a text"


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (("context", "endings"), {"question": "context"}),
        (("context", "question", "endings"), {"question": "question", "context": "context"}),
        (("article", "question", "options"), {"question": "question", "context": "article"}),
    ],
)
def test_a_context_without_a_question_is_the_question(columns, found):
    table = Table(
        name="f", path="f", layout="jsonl", sha256="", encoding="utf-8", separator=None,
        columns=[*columns, "label"], rows=[], lines=[], raw=str,
    )  # fmt: skip
    roles = match(Choices(), table, {})
    assert {role: roles[role] for role in ("question", "context") if role in roles} == found


def test_questions_on_one_context_stay_in_one_split():
    one, other = with_context("It is dark."), with_context("It is late.")
    assert Choices().group(one) == Choices().group(one._replace(text="who?"))
    assert Choices().group(one) != Choices().group(other)
    assert Choices().group(read(1)) == "which?"
