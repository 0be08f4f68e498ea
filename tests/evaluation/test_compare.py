"""Comparing runs on the same rows."""

import dataclasses
import json

import pytest

from inlay.data.rows import Example
from inlay.errors import RunError
from inlay.evaluation.compare import compare
from inlay.evaluation.records import to_jsonl
from inlay.metrics.headline import Headline
from inlay.metrics.significance import mcnemar
from inlay.tasks.classification import Prediction, TextClassification

TASK = TextClassification(labels=("a", "b", "c"))
LABELS = ["a", "b", "a", "b", "c"] * 12


def write(folder, wrong, *, labels=LABELS, file="x.csv", backwards=False, headline=TASK.headline):
    """Write predictions that are wrong in some rows."""
    folder.mkdir()
    rows = [Example(f"text {n}", None, label, file, n + 2) for n, label in enumerate(labels)]
    chosen = [
        next(other for other in "abc" if other != label) if n in wrong else label
        for n, label in enumerate(labels)
    ]
    pairs = list(zip(rows, [Prediction(label, {label: 0.9}) for label in chosen], strict=True))
    pairs = pairs[::-1] if backwards else pairs
    text = to_jsonl(TASK, [row for row, _ in pairs], [prediction for _, prediction in pairs])
    (folder / "predictions.jsonl").write_text(text)
    (folder / "metrics.json").write_text(json.dumps({"headline": dataclasses.asdict(headline)}))
    return folder, chosen


@pytest.mark.parametrize("backwards", [False, True])
def test_numbers_of_each_run_and_of_the_difference(tmp_path, backwards):
    first, _ = write(tmp_path / "first", wrong=set(range(24)))
    second, chosen = write(tmp_path / "second", wrong={0, 1, 2, 40, 41}, backwards=backwards)
    one, two = compare(first, second)
    assert (one.run, one.rows, one.difference) == (str(first), 60, None)
    assert one.value == pytest.approx(36 / 60)
    assert (two.run, two.rows) == (str(second), 60)
    assert two.value == pytest.approx(55 / 60)
    assert (two.metric, one.metric) == ("accuracy", "accuracy")
    correct = [float(label == c) for label, c in zip(LABELS, chosen, strict=True)]
    assert two.interval == TASK.headline.interval([(right, 1) for right in correct])
    difference = two.difference
    assert (difference.fixed, difference.broken) == (21, 2)
    assert difference.mean == pytest.approx(19 / 60)
    assert difference.p_value == mcnemar(21, 2)
    assert difference.low > 0
    assert difference.is_beyond_noise


def test_the_first_of_many_is_the_reference(tmp_path):
    wrong = {"r0": 9, "r1": 3, "r2": 12}
    runs = [write(tmp_path / name, set(range(number)))[0] for name, number in wrong.items()]
    found = compare(*runs)
    assert [entry.difference and entry.difference.fixed for entry in found] == [None, 6, 0]
    assert [entry.difference and entry.difference.broken for entry in found] == [None, 0, 3]


def test_the_same_rows_read_from_another_folder_are_the_same(tmp_path):
    one, _ = write(tmp_path / "one", {1})
    two, _ = write(tmp_path / "two", {2}, file="elsewhere/x.csv")
    assert len(compare(one, two)) == 2


@pytest.mark.parametrize("labels", [LABELS[:-1], [*LABELS[:-1], "a"], [*LABELS, "a"]])
def test_other_rows_cannot_be_compared(tmp_path, labels):
    one, _ = write(tmp_path / "one", {1})
    two, _ = write(tmp_path / "two", {1}, labels=labels)
    message = (
        rf"two and {one} were tested on different rows \({len(labels)} and 60\), so their scores "
        r"cannot be compared\. Evaluate both on one file: inlay evaluate RUN DATA\.$"
    )
    with pytest.raises(RunError, match=message):
        compare(one, two)


def test_one_run_is_no_comparison(tmp_path):
    with pytest.raises(RunError, match=r"^compare needs two runs or more, not 1\.$"):
        compare(tmp_path)


def test_a_run_that_has_not_finished(tmp_path):
    one, _ = write(tmp_path / "one", {1})
    with pytest.raises(RunError, match=r"none has no predictions\.jsonl"):
        compare(one, tmp_path / "none")


def test_other_metrics_cannot_be_compared(tmp_path):
    one, _ = write(tmp_path / "one", {1})
    two, _ = write(tmp_path / "two", {2}, headline=Headline("r_squared"))
    with pytest.raises(RunError, match="two is measured by r_squared and .*one by accuracy, so"):
        compare(one, two)


def test_the_same_text_in_two_files_of_one_split_counts_twice(tmp_path):
    """Rows of a folder with a file for each text all stand in line 1."""
    folders = []
    for name, wrong in (("one", 1), ("two", 0)):
        rows = [Example("same", None, "a", f"a/{number}.txt", 1) for number in range(4)]
        chosen = ["b"] * wrong + ["a"] * (4 - wrong)
        predictions = [Prediction(label, {label: 0.9}) for label in chosen]
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.jsonl").write_text(to_jsonl(TASK, rows, predictions))
        (tmp_path / name / "metrics.json").write_text(
            json.dumps({"headline": dataclasses.asdict(TASK.headline)})
        )
        folders.append(tmp_path / name)
    one, two = compare(*folders)
    assert (one.rows, two.rows) == (4, 4)
    assert one.value == pytest.approx(0.75)
    assert (two.difference.fixed, two.difference.broken) == (1, 0)
