"""Columns are guessed by name, then by content, or named."""

import pytest

from inlay.data.columns import find_columns, simplify
from inlay.data.separated import read_separated
from inlay.errors import DataError


def table(tmp_path, header, *rows):
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return read_separated(path, name="reviews.csv")


ROW = "a long enough text about things"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("text,label", ("text", None, "label")),
        ("Review,Category", ("Review", None, "Category")),
        ("intent,utterance", ("utterance", None, "intent")),
        ("premise,hypothesis,label", ("premise", "hypothesis", "label")),
        ("sentence1,sentence2,gold_label", ("sentence1", "sentence2", "gold_label")),
    ],
)
def test_guessed_by_name(tmp_path, header, expected):
    cells = {"label": "x", "Category": "x", "intent": "x", "gold_label": "x"}
    row = ",".join(cells.get(name, ROW) for name in header.split(","))
    roles = find_columns(table(tmp_path, header, *[row] * 3))
    assert (roles.text, roles.pair, roles.label) == expected


def test_a_named_column_that_is_not_there(tmp_path):
    found = table(tmp_path, "review,stars,date", f"{ROW},3,1999")
    with pytest.raises(DataError, match="has no column") as error:
        find_columns(found, text_column="text")
    assert str(error.value) == (
        'reviews.csv has no column "text". It has: review, stars, date. '
        "Did you mean --text-column review?"
    )


def test_named_columns_win(tmp_path):
    found = table(tmp_path, "text,other,label,kind", f"{ROW},{ROW} too,x,y")
    roles = find_columns(found, text_column="other", label_column="kind")
    assert (roles.text, roles.label) == ("other", "kind")
    with pytest.raises(DataError, match="other"):
        find_columns(found, text_column="other", pair_column="other")


def test_a_knowledge_graph_is_no_text(tmp_path):
    with pytest.raises(DataError, match="looks like a knowledge graph .* which no task learns"):
        find_columns(table(tmp_path, "head,relation,tail", "a,b,c"))


def test_names_are_compared_without_case_and_signs():
    assert simplify("Gold_Label ") == simplify("goldLabel")


def test_a_text_column_is_no_label(tmp_path):
    with pytest.raises(DataError, match="has no column") as error:
        find_columns(table(tmp_path, "text", "foo", "bar baz"))
    assert str(error.value) == (
        'reviews.csv has no column "label". It has: text. Name it with --label-column.'
    )


def test_a_row_is_not_taken_for_the_header(tmp_path):
    rows = [f"some words number {n},{'ab'[n % 2]}" for n in range(30)]
    with pytest.raises(DataError, match="seems to have no header: its first line reads"):
        find_columns(table(tmp_path, *rows))


def test_columns_are_guessed_by_content_below_unknown_names(tmp_path):
    rows = [f"{n},some words number {n},{'ab'[n % 2]}" for n in range(30)]
    roles = find_columns(table(tmp_path, "no,spoken,verdict", *rows))
    assert (roles.text, roles.label) == ("spoken", "verdict")
