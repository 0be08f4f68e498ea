"""Texts with any number of labels."""

from collections import Counter

import pytest

from inlay.data.forms.base import Place
from inlay.data.forms.multilabel import MultiLabelled
from inlay.data.sources import read_dataset


def read(labels, text="words", **more):
    cells = {"text": text, "labels": labels, **more}
    return MultiLabelled().example(cells, Place("f", 1), Counter(), has_target=True)


@pytest.mark.parametrize(
    "labels", [["b", "a", "b"], "a|b", "b; a", "a, b", " a |b| ", '["b", "a"]', "['a', 'b']"]
)  # fmt: skip
def test_labels_as_a_list_or_as_text(labels):
    row = read(labels)
    assert row.parts == {"labels": ["a", "b"]}
    assert (row.label, MultiLabelled().classes(row)) == ("a, b", ["a", "b"])


def test_no_label_is_a_set_too():
    assert read([]).parts == {"labels": []}
    assert read("").label == ""


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "labels are missing"), (3, "labels are a number, not a list"),
        (["a", 3], "labels hold a number, not names only"),
        ("['a' 'b']", "labels begin as a list and are none; write it as JSON"),
        (["a", " "], "labels hold a text, not names only"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(labels, reason):
    assert read(labels) == reason


def test_pairs_and_files_with_separated_labels(tmp_path):
    assert read(["a"], pair="second").pair == "second"
    assert read(["a"], pair=" ") == "second text is empty"
    path = tmp_path / "d.csv"
    path.write_text(
        "text,labels\n" + "".join(f"words {n},{'a|b' if n % 2 else 'a'}\n" for n in range(60))
    )
    data = read_dataset(path, task="multi-label")
    assert data.labels == ["a", "b"]
    assert {row.label for row in data.splits["test"]} == {"a", "a, b"}, "in proportion"


@pytest.mark.parametrize(
    ("column", "value", "form"),
    [
        ("labels", "a|{}", "multi-labelled"), ("topics", "{}, a", "multi-labelled"),
        ("labels", '["{}"]', "multi-labelled"),
        # One label of a text, several but in no other row, and sentences are no sets.
        ("label", "a|{}", "labelled"), ("labels", "{}", "labelled"),
        ("labels", "one of {}, in words of its own", "labelled"),
        # A comma in a name, though the names recur in other rows.
        ("categories", "{}, also {}", "labelled"), ("tags", "{}; {} too", "labelled"),
    ],
)  # fmt: skip
def test_sets_of_labels_are_told_from_classes(tmp_path, column, value, form):
    path = tmp_path / "d.csv"
    rows = "".join(f"words {n}\t{value.format(*('bcd'[n % 3] * 2))}\n" for n in range(60))
    path.write_text(f"text\t{column}\n{rows}")
    assert read_dataset(path.rename(path.with_suffix(".tsv"))).form == form


def test_names_with_a_comma_are_classes_and_few_sets_are_sets(tmp_path):
    names = ["Home, Garden", "Home, Kitchen", "Books", "Clothing, Shoes", "Music"]
    sets = ["a", "b, c", "c", "a, c", "c, b"]
    for file, kinds, form in (("one", names, "labelled"), ("several", sets, "multi-labelled")):
        path = tmp_path / f"{file}.csv"
        path.write_text(
            "text,categories\n" + "".join(f'words {n},"{kinds[n % 5]}"\n' for n in range(100))
        )
        data = read_dataset(path)
        assert data.form == form
        assert data.labels == (sorted(names) if file == "one" else ["a", "b", "c"])
        several = read_dataset(path, task="multi-label")
        assert several.form == "multi-labelled", "if it is asked for"
