"""Splits that are made: stratified, seeded, equal texts together."""

import random
from collections import Counter

import pytest

from inlay.data.rows import Example
from inlay.data.splits import (
    complete_splits,
    count_leaks,
    describe_leaks,
    drop_unseen,
    take_shares,
    text_key,
)
from inlay.errors import DataError


def rows(count=200, copies=1):
    return [
        Example(f"text {n}", None, "ab"[n % 4 == 0], "f.csv", n * copies + k)
        for n in range(count)
        for k in range(copies)
    ]


def test_sizes_and_strata():
    splits, notes = complete_splits({"train": rows()}, seed=1)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [160, 20, 20]
    for part in splits.values():
        share = Counter(row.label for row in part)["b"] / len(part)
        assert share == pytest.approx(0.25, abs=0.06)
    assert "validation split made: 10 % of train (20 rows), stratified by label" in notes[0]
    all_rows = [row for part in splits.values() for row in part]
    assert Counter(all_rows) == Counter(rows())


def test_rows_without_a_stratum_are_not_said_to_be_stratified():
    _, notes = complete_splits({"train": rows()}, seed=1, stratum=lambda row: "")
    assert notes[0] == (
        "validation split made: 10 % of train (20 rows), equal texts kept together, seed 1."
    )


def test_the_order_of_rows_does_not_matter_but_the_seed_does():
    shuffled = rows()
    random.Random(3).shuffle(shuffled)
    one = take_shares(rows(), {"test": 0.1}, seed=1)
    two = take_shares(shuffled, {"test": 0.1}, seed=1)
    other = take_shares(rows(), {"test": 0.1}, seed=2)
    assert set(one["test"]) == set(two["test"]) != set(other["test"])


def test_equal_texts_stay_together():
    splits, _ = complete_splits({"train": rows(60, copies=3)}, seed=5)
    assert count_leaks(splits) == {}
    assert text_key("My  Card\n", "X") == text_key("my card", "x") != text_key("my card x", None)


def test_only_what_is_missing_is_made():
    given = {"train": rows(), "test": rows(20)}
    splits, notes = complete_splits(given, seed=1)
    assert splits["test"] == given["test"]
    assert len(notes) == 1
    assert complete_splits(splits, seed=1) == (splits, [])


def test_too_few_texts():
    same = [Example("same", None, "a", "f", n) for n in range(30)]
    with pytest.raises(DataError, match="too few different texts to take a validation split"):
        complete_splits({"train": same}, seed=1)


def test_leaks_are_counted_and_said():
    leaks = count_leaks({"train": rows(5), "test": rows(2)})
    assert leaks == {"test/train": 2}
    assert describe_leaks(leaks) == [
        "2 rows of test have texts that are in train too: they are kept, and flatter the score."
    ]


def test_labels_that_train_does_not_have():
    odd = [Example("new", None, "refund", "t.csv", n) for n in range(4)]
    splits = {"train": rows(20), "test": [*rows(8), *odd]}
    with pytest.raises(
        DataError,
        match=r'label "refund" occurs in test \(4 rows\) but not in '
        r"train\. Add rows or --drop-unseen-labels",
    ):
        drop_unseen(splits, drops=False)
    kept, dropped, notes = drop_unseen(splits, drops=True)
    assert (len(kept["test"]), dropped) == (8, 4)
    assert "4 rows of test dropped" in notes[0]
