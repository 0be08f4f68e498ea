"""Tokens with tags: what is read, what is refused, and raw texts."""

from collections import Counter

import pytest

from inlay.data.forms.base import Place
from inlay.data.forms.tagged import Tagged, split_words
from inlay.data.sources import read_dataset
from inlay.data.table import MISSING
from inlay.errors import DataError
from tests.data.forms.files import write_jsonl

ROWS = [{"tokens": ["fly", "to", f"Rome{n}"], "tags": ["O", "O", "B-city"]} for n in range(40)]


def read(tokens, tags=MISSING, *, has_target=True):
    cells = {"tokens": tokens, "tags": tags}
    return Tagged().example(cells, Place("f.jsonl", 3), Counter(), has_target=has_target)


def test_a_row_keeps_its_lists_and_says_them_in_words():
    row = read(["fly", "to", "Rome"], ["O", "O", "B-city"])
    assert (row.text, row.label, row.file, row.line) == ("fly to Rome", "O O B-city", "f.jsonl", 3)
    assert row.parts == {"tokens": ["fly", "to", "Rome"], "tags": ["O", "O", "B-city"]}


def test_lists_may_be_written_as_text():
    assert read("fly to Rome", "O O B-city").parts["tokens"] == ["fly", "to", "Rome"]


@pytest.mark.parametrize(
    ("tokens", "tags", "reason"),
    [
        (["a", "b"], ["O"], "1 tags for 2 tokens"),
        (["a"], MISSING, "tags are missing"),
        (MISSING, ["O"], "tokens are missing"),
        ([], [], "tokens are empty"),
        (["a", " "], ["O", "O"], "token 1 is empty"),
        (["a", 3], ["O", "O"], "tokens hold a number, not texts only"),
        (7, ["O"], "tokens are a number, not a list"),
    ],
)
def test_what_cannot_be_used_says_why(tokens, tags, reason):
    assert read(tokens, tags) == reason


def test_a_prediction_needs_no_tags():
    assert read(["a"], has_target=False).parts == {"tokens": ["a"]}


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ("Fly to Rome, please!", ["Fly", "to", "Rome", ",", "please", "!"]),
        (["already", "split"], ["already", "split"]),
        ({"tokens": ["by", "role"]}, ["by", "role"]),
    ],
)
def test_raw_inputs_become_tokens(given, tokens):
    assert Tagged().cells_of(given) == {"tokens": tokens}


def test_words_and_signs_are_told_apart():
    assert split_words("don't  e-mail") == ["don", "'", "t", "e", "-", "mail"]


def test_classes_are_types_without_marks():
    row = read(["a", "b", "c", "d"], ["B-city", "I-city", "O", "S-day"])
    assert Tagged().classes(row) == ["city", "day"]


def test_a_file_is_recognised_and_bad_rows_are_counted(tmp_path):
    rows = [*ROWS, {"tokens": ["a", "b"], "tags": ["O"]}]
    data = read_dataset(write_jsonl(tmp_path / "t.jsonl", rows), max_rejected=0.1)
    assert (data.form, data.labels) == ("tagged", ["city"])
    assert [(row.line, row.reason) for row in data.rejected] == [(41, "1 tags for 2 tokens")]
    assert sum(map(len, data.splits.values())) == 40


def test_a_type_that_only_test_has_is_refused_by_name(tmp_path):
    for split in ("train", "validation", "test"):
        own = ROWS if split != "test" else [{"tokens": ["x"], "tags": ["B-day"]}]
        write_jsonl(tmp_path / f"{split}.jsonl", own)
    with pytest.raises(DataError, match=r'label "day" occurs in test \(1 row\) but not in train'):
        read_dataset(tmp_path)


def test_other_column_names_are_given_by_role(tmp_path):
    rows = [{"w": row["tokens"], "t": row["tags"]} for row in ROWS]
    path = write_jsonl(tmp_path / "t.jsonl", rows)
    data = read_dataset(path, task="tagging", columns={"tokens": "w", "tags": "t"})
    assert data.columns == {"tokens": "w", "tags": "t"}
    with pytest.raises(DataError, match=r'no column "q"\. It has: w, t'):
        read_dataset(path, task="tagging", columns={"tokens": "q"})
    with pytest.raises(DataError, match="has no column for tokens, tags, which task 'tagging' re"):
        read_dataset(path, task="tagging")
