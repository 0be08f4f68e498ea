"""Names of labels from whatever stands in the column."""

from collections import Counter

import pytest

from inlay.data.labels import apply_label_map, check_classes, list_labels, merge_numbers, name_of
from inlay.errors import DataError


@pytest.mark.parametrize(
    ("value", "expected"),
    [("x", "x"), (3, "3"), (True, "true"), (None, None), (2.5, "2.5"), (float("nan"), None),
     ([1], None)],
)  # fmt: skip
def test_names(value, expected):
    assert name_of(value) == expected


def test_class_indices():
    assert name_of(1, ["neg", "pos"]) == "pos"
    assert name_of(2, ["neg", "pos"]) is None


def test_whole_numbers_have_one_spelling():
    assert merge_numbers(["1.0", "2", "3.0"], column="c", num_rows=90) == {"1.0": "1", "3.0": "3"}
    assert merge_numbers(["a", "1.0"], column="c", num_rows=90) == {}


def test_what_is_no_class():
    with pytest.raises(
        DataError,
        match="that is regression. Learn the numbers with --task regression --column score=",
    ):
        merge_numbers([str(n / 7) for n in range(40)], column="score", num_rows=80)
    with pytest.raises(DataError, match="looks like an identifier or a text, not a class"):
        merge_numbers([f"id{n}" for n in range(60)], column="id", num_rows=70)


def test_renaming():
    renamed, notes = apply_label_map({"Good": 2, "good": 9}, {"Good": "good"})
    assert renamed == {"Good": "good"}
    assert notes == ['label "Good" renamed to "good": 2 rows.']
    with pytest.raises(DataError, match='no row has the label "Goood".*Did you mean'):
        apply_label_map({"Good": 2}, {"Goood": "good"})
    with pytest.raises(DataError, match="a label cannot be empty"):
        apply_label_map({"Good": 2}, {"Good": " "})


def test_too_little_to_learn():
    with pytest.raises(DataError, match=r'^only one class \("ok"\): nothing to learn$'):
        check_classes(Counter(ok=50), name="d")
    with pytest.raises(DataError, match="d has 3 usable rows in 2 classes: too few"):
        check_classes(Counter(a=2, b=1), name="d")


def test_lists_are_cut():
    assert list_labels(["a", "b", "c"], most=2) == '"a", "b" and 1 more'
