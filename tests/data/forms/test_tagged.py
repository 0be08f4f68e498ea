"""Tagged tokens: what is refused, classes without their marks, and raw texts."""

from collections import Counter

import pytest

from inlay.data.forms.base import Place
from inlay.data.forms.registry import choose_form
from inlay.data.forms.tagged import Tagged, joined_places, split_words, word_places, worded
from inlay.data.sources import read_dataset
from inlay.data.table import MISSING, Table
from inlay.errors import DataError
from tests.data.forms.files import write_jsonl

FORM = Tagged()


def read(tokens, tags=MISSING, *, has_target=True):
    cells = {"tokens": tokens, "tags": tags}
    return FORM.example(cells, Place("f.jsonl", 7), Counter(), has_target=has_target)


@pytest.mark.parametrize(
    ("tokens", "tags", "reason"),
    [
        (["a", "b"], ["O"], "1 tag for 2 tokens"),
        (["a"], ["O", "O"], "2 tags for 1 token"),
        ([], [], "there are no tokens"),
        (["a"], [], "there are no tags"),
        (["a", " "], ["O", "O"], "token 1 is empty"),
        (["a"], [""], "tag 0 is empty"),
        (["a", 3], ["O", "O"], "token 1 is a number, not a text"),
        (["a"], [0], "tag 0 is a number, not a text"),
        (["a"], [None], "tag 0 is NoneType, not a text"),
        (["\ud83d"], ["O"], "token 0 has half of a surrogate pair"),
        ({"a": 1}, ["O"], "tokens are an object, not a list"),
        (["a"], 5, "tags are a number, not a list"),
        (None, ["O"], "tokens are missing"),
        (["a"], MISSING, "tags are missing"),
        ("['a' 'b']", "['O' 'O']", "tokens begin as a list and are none; write it as JSON"),
        (["a", "b"], '["O" "O"]', "tags begin as a list and are none; write it as JSON"),
    ],
)
def test_rows_that_cannot_be_used_say_why(tokens, tags, reason):
    assert read(tokens, tags) == reason


@pytest.mark.parametrize("text", ["", "  \t", "\ud83d"])
def test_raw_texts_that_cannot_be_used_say_why(text):
    assert read(text, has_target=False) in ("text is empty", "text has half of a surrogate pair")


def test_a_row_holds_tokens_tags_and_its_place():
    row = read(["Fly", "to", "New York"], ["O", "O", "B-city"])
    assert (row.text, row.label) == ("Fly to New York", "New York/B-city")
    assert (row.file, row.line) == ("f.jsonl", 7)
    assert row.parts == {"tokens": ["Fly", "to", "New York"], "tags": ["O", "O", "B-city"]}


def test_texts_divided_by_blanks_are_lists():
    assert read("Fly to  Rome", "O O B-city").parts == {
        "tokens": ["Fly", "to", "Rome"], "tags": ["O", "O", "B-city"]
    }  # fmt: skip


def test_a_raw_text_is_split_and_remembers_where():
    text = "Fly  to Rome, please!"
    row = FORM.example(FORM.cells_of(text), Place("", 0), Counter(), has_target=False)
    assert row.text == text
    assert row.parts["tokens"] == ["Fly", "to", "Rome", ",", "please", "!"] == split_words(text)
    assert [text[a:b] for a, b in row.parts["places"]] == row.parts["tokens"]
    assert word_places(text)[2] == (8, 12)


def test_tokens_to_be_tagged_are_taken_as_they_are():
    row = read(["U.K.", "it's"], has_target=False)
    assert row.parts == {"tokens": ["U.K.", "it's"]}
    given = FORM.example(FORM.cells_of(["U.K.", "it's"]), Place("", 0), Counter(), has_target=False)
    assert given.parts == row.parts
    with pytest.raises(DataError, match="this task reads tokens"):
        FORM.cells_of({"question": "x"})


def test_places_are_those_of_the_joined_text():
    tokens = ["a", "bcd", "e f"]
    joined = " ".join(tokens)
    assert [joined[a:b] for a, b in joined_places(tokens)] == tokens


def test_words_of_tags():
    assert worded(["a", "b"], ["O", "O"]) == "(all O)"
    assert worded(["a", "b"], ["DET", "NOUN"]) == "a/DET b/NOUN"


def test_classes_are_types():
    assert FORM.classes(read(["a", "b", "c"], ["B-x", "I-x", "O"])) == ["x"]
    assert FORM.classes(read(["a", "b", "c"], ["U-x", "L-y", "S-z"])) == ["x", "y", "z"]
    assert FORM.classes(read(["a", "b"], ["NOUN", "X-y"])) == ["NOUN", "X-y"]


def table(columns, *rows):
    return Table(
        name="f.jsonl", path="f.jsonl", layout="jsonl", sha256="", encoding="utf-8",
        separator=None, columns=list(columns), rows=[list(row) for row in rows],
        lines=range(1, len(rows) + 1), raw=str, is_typed=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "row", "is_tagged"),
    [
        (("tokens", "tags"), (["a"], ["O"]), True),
        (("words", "ner_tags"), (["a"], ["O"]), True),
        (("tokens", "tags", "intent"), (["a"], ["O"], "x"), True),
        (("text", "tags"), ("a b", ["x", "y"]), False),
        (("tokens", "tags"), ('["a"]', "['O']"), True),
        (("text", "tags"), ("[sic] a", '["x"]'), False),
        (("tokens", "tags"), (None, None), False),
    ],
)
def test_a_table_of_two_lists_is_tagged(columns, row, is_tagged):
    form = choose_form(table(columns, row), task=None, columns={}, is_labelled=False)
    assert isinstance(form, Tagged) == is_tagged


def write(path, rows):
    return write_jsonl(path, [{"tokens": tokens, "tags": tags} for tokens, tags in rows])


def test_a_file_is_recognised_and_bad_rows_are_counted(tmp_path):
    rows = [(["to", f"Rome{n}"], ["O", "B-city"]) for n in range(40)]
    path = write(tmp_path / "t.jsonl", [*rows, (["a", "b"], ["O"])])
    data = read_dataset(path, max_rejected=0.1)
    assert (data.form, data.labels) == ("tagged", ["city"])
    assert [(row.line, row.reason) for row in data.rejected] == [(41, "1 tag for 2 tokens")]
    assert sum(map(len, data.splits.values())) == 40


def test_other_column_names_are_given_by_role(tmp_path):
    rows = [{"w": ["to", f"Rome{n}"], "t": ["O", "B-city"]} for n in range(40)]
    path = write_jsonl(tmp_path / "t.jsonl", rows)
    data = read_dataset(path, task="tagging", columns={"tokens": "w", "tags": "t"})
    assert data.columns == {"tokens": "w", "tags": "t"}
    with pytest.raises(DataError, match=r'no column "q"\. It has: w, t'):
        read_dataset(path, task="tagging", columns={"tokens": "q"})
    with pytest.raises(DataError, match="has no column for tokens, tags, which task 'tagging' re"):
        read_dataset(path, task="tagging")


def test_a_type_that_train_lacks_is_refused_but_its_other_mark_is_not(tmp_path):
    write(tmp_path / "train.jsonl", [([f"w{n}", "a"], ["B-city", "O"]) for n in range(20)])
    write(tmp_path / "validation.jsonl", [(["new", "york"], ["B-city", "I-city"])])
    write(tmp_path / "test.jsonl", [(["x", "y"], ["B-city", "O"]), (["z"], ["B-song"])])
    with pytest.raises(DataError, match='label "song" occurs in test .1 row. but not in train'):
        read_dataset(tmp_path)
    found = read_dataset(tmp_path, drop_unseen_labels=True)
    assert found.dropped_unseen == 1
    assert [len(found.splits[split]) for split in ("validation", "test")] == [1, 1]


def test_lists_that_a_table_writes_as_text_are_lists():
    row = read('["a b", "\\"c"]', "['O', 'B-x']")
    assert row.parts == {"tokens": ["a b", '"c'], "tags": ["O", "B-x"]}
    asked = read('["a", "b"]', has_target=False)
    assert asked.parts == {"tokens": ["a", "b"]}


def test_a_raw_text_may_begin_as_a_list():
    assert read("[1, 2] and", has_target=False).parts["tokens"][:2] == ["[", "1"]
    assert read("[1, 2]", has_target=False).parts["tokens"] == ["[", "1", ",", "2", "]"]
