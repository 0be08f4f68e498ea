"""Questions with spans of a context: offsets that agree, are mended, or are refused."""

import json
from collections import Counter

import pytest

from inlay.data.forms.base import Place
from inlay.data.forms.registry import choose_form
from inlay.data.forms.spans import Spans
from inlay.data.table import MISSING, Table

CONTEXT = "Ada wrote the first program. Ada lived in London."


def read(answers, *, context=CONTEXT, question="Who?", has_target=True):
    counts = Counter()
    cells = {"question": question, "context": context, "answers": answers}
    return Spans().example(cells, Place("f.json", 3), counts, has_target=has_target), counts


def answers_of(given):
    row, counts = read(given)
    return row.parts["answers"], counts


@pytest.mark.parametrize(
    "given",
    [
        {"text": ["London"], "answer_start": [42]},
        {"text": "London", "answer_start": 42},
        {"text": ["London"], "answer_start": [42.0]},
        [{"text": "London", "answer_start": 42}],
        {"text": ["London"]},
        ["London"],
        "London",
        '{"text": ["London"], "answer_start": [42]}',
        '["London"]',
    ],
)
def test_every_way_to_write_an_answer(given):
    assert answers_of(given) == ([[42, "London"]], Counter())


@pytest.mark.parametrize("given", [{"text": [], "answer_start": []}, [], "", None, "[]"])
def test_no_answer(given):
    row, counts = read(given)
    assert (row.label, row.parts, counts) == ("", {"answers": []}, Counter())
    assert (row.text, row.pair, row.line) == ("Who?", CONTEXT, 3)


@pytest.mark.parametrize("start", [41, 0, -7, 10_000])
def test_an_answer_beside_its_offset_is_corrected_and_counted(start):
    found, counts = answers_of({"text": ["London"], "answer_start": [start]})
    assert found == [[42, "London"]]
    assert counts == {"answer not at its offset, found elsewhere and corrected": 1}


def test_the_nearest_place_is_taken():
    assert answers_of({"text": ["Ada"], "answer_start": [20]})[0] == [[29, "Ada"]]
    assert answers_of({"text": ["Ada"], "answer_start": [9]})[0] == [[0, "Ada"]]


def test_without_an_offset_the_first_place_is_taken_and_counted():
    found, counts = answers_of("Ada")
    assert found == [[0, "Ada"]]
    (what,) = counts
    assert what == (
        "answer without an offset stands in its context several times: the first is taken"
    )


def test_white_space_around_an_answer_is_no_part_of_it():
    found, counts = answers_of({"text": [" London"], "answer_start": [41]})
    assert (found, counts) == ([[42, "London"]], Counter())


def test_offsets_count_characters_not_bytes():
    context = "日本の首都は東京です。😀 Été"
    row, counts = read({"text": ["東京"], "answer_start": [6]}, context=context)
    assert row.parts["answers"] == [[6, "東京"]]
    row, _ = read({"text": ["Été"], "answer_start": [13]}, context=context)
    assert row.parts["answers"] == [[13, "Été"]]
    assert not counts


def test_one_answer_of_several_that_is_not_there_is_left_out():
    found, counts = answers_of({"text": ["Paris", "London"], "answer_start": [3, 42]})
    assert found == [[42, "London"]]
    assert counts == {"answer not in its context left out; the row has others": 1}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (MISSING, "answers are missing"),
        ("Paris", "the answer 'Paris' is not in the context"),
        ({"text": ["Paris"], "answer_start": [3]}, "the answer 'Paris' is not in the context"),
        ("{broken", "the answer '{broken' is not in the context"),
        ({"text": ["a", "b"], "answer_start": [1]}, "2 answers but 1 offset"),
        ({"answer_start": [1]}, 'answers have no list "text"'),
        ({"text": [" "], "answer_start": [1]}, "an answer has no text"),
        ([{"answer_start": 1}], "an answer has no text"),
        ([3], "an answer has no text"),
        (3, "answers are a number, not a list"),
    ],
)
def test_answers_that_cannot_be_used(given, reason):
    assert read(given)[0] == reason


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ("", "context is empty"),
        (" \n", "context is empty"),
        (None, "context is null"),
        (MISSING, "context is missing"),
        (["a"], "context is a list, not a text"),
    ],
)
def test_contexts_that_cannot_be_used(context, reason):
    assert read("a", context=context)[0] == reason
    assert read(MISSING, context=context, has_target=False)[0] == reason


def test_a_long_answer_is_shortened_in_the_reason():
    reason, _ = read("x" * 99)
    assert reason == f"the answer {'x' * 37 + '...'!r} is not in the context"


def test_a_prediction_needs_no_answers():
    row, _ = read(MISSING, has_target=False)
    assert row.parts == {"answers": []}
    cells = Spans().cells_of(("Who?", CONTEXT))
    assert cells == {"question": "Who?", "context": CONTEXT}


def test_questions_of_one_context_stay_in_one_split():
    first, _ = read("London", question="Where?")
    second, _ = read("Ada", question="Who?")
    assert Spans().group(first) == Spans().group(second)


def test_a_table_is_known_by_its_columns():
    columns = ["question", "context", "answers"]
    row = ["Who?", CONTEXT, {"text": ["Ada"], "answer_start": [0]}]
    table = Table(
        name="t", path="t", layout="jsonl", sha256="", encoding="utf-8", separator=None,
        columns=columns, rows=[row], lines=[1], raw=lambda index: json.dumps(row),
    )  # fmt: skip
    form = choose_form(table, task=None, columns={}, is_labelled=False)
    assert isinstance(form, Spans)
