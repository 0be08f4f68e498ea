"""A few rows for each class, drawn by content and not by place."""

from collections import Counter

import pytest

from inlay.data.few_shot import take_few
from inlay.data.rows import Dataset, Example
from inlay.data.splits import classes_of
from inlay.errors import DataError


def dataset(rows):
    splits = {"train": rows[:90], "validation": rows[90:120], "test": rows[120:]}
    return Dataset(
        name="d", splits=splits, labels=sorted({row.label for row in rows}), columns={}, files=[],
        rejected=[], notes=[], made_splits=False,
    )  # fmt: skip


def rows(number=150):
    return [Example(f"text {n}", None, "abc"[n % 3], "f", n) for n in range(number)]


@pytest.mark.parametrize("number", [1, 8])
def test_each_class_has_as_many_rows_and_test_stays_whole(number):
    data = dataset(rows())
    take_few(data, number, classes_of, seed=3)
    for split in ("train", "validation"):
        counts = Counter(row.label for row in data.splits[split])
        assert counts == dict.fromkeys("abc", number)
        lines = [row.line for row in data.splits[split]]
        assert lines == sorted(lines), "in the order of the file"
    assert len(data.splits["test"]) == 30
    assert data.notes == [
        f"few-shot: {number} rows for each class, {3 * number} train and {3 * number} validation "
        "rows kept."
    ]


def test_the_draw_depends_on_the_seed_and_not_on_the_order():
    one, other, backwards = dataset(rows()), dataset(rows()), dataset(rows())
    backwards.splits["train"].reverse()
    for data, seed in ((one, 1), (other, 2), (backwards, 1)):
        take_few(data, 5, classes_of, seed=seed)
    texts = [{row.text for row in data.splits["train"]} for data in (one, other, backwards)]
    assert texts[0] == texts[2]
    assert texts[0] != texts[1]


def test_a_class_with_too_few_rows_is_named():
    given = [*rows(88), Example("rare", None, "z", "f", 999), *rows(61)]
    data = dataset(given)
    take_few(data, 4, classes_of, seed=1)
    assert Counter(row.label for row in data.splits["train"])["z"] == 1
    assert data.notes[0].endswith("Fewer for 1 class: z.")


def test_rows_with_several_classes_and_with_none():
    data = dataset(rows())
    take_few(data, 6, lambda row: ("all", row.label), seed=1)
    counts = Counter(row.label for row in data.splits["train"])
    assert counts == dict.fromkeys("abc", 6)
    data = dataset(rows())
    take_few(data, 6, lambda row: (), seed=1)
    assert len(data.splits["train"]) == 6


def test_none_at_all_is_refused():
    with pytest.raises(DataError, match="few_shot=0: at least 1 row for each class is needed"):
        take_few(dataset(rows()), 0, classes_of, seed=1)
