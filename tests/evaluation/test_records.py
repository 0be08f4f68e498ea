"""Predictions as they lie in a run's folder, and the most confident mistakes."""

import json

import pytest

from inlay.data.rows import Example
from inlay.errors import RunError
from inlay.evaluation.records import Record, mistakes, read_headline, read_records, to_jsonl
from inlay.tasks.classification import Prediction, TextClassification

TASK = TextClassification(labels=("a", "b"))
ROWS = [
    Example("ein\u2028Satz", "zwei ☃", "a", "data/x.csv", 2),
    Example('b "quoted"\nline', None, "b", "data/x.csv", 3),
    Example("c", None, "new", "data/x.csv", 9),
]
PREDICTIONS = [
    Prediction("a", {"a": 0.7, "b": 0.3}),
    Prediction("a", {"a": 0.55, "b": 0.45}),
    Prediction("b", {"a": 0.123456789, "b": 0.876543211}),
]


def write(folder, rows=ROWS, predictions=PREDICTIONS):
    folder.mkdir(exist_ok=True)
    (folder / "predictions.jsonl").write_text(to_jsonl(TASK, rows, predictions), encoding="utf-8")
    return folder


def test_records_come_back(tmp_path):
    found = read_records(write(tmp_path / "run"))
    details = [prediction.record(3) for prediction in PREDICTIONS]
    right, wrong = [1.0, 1.0], [0.0, 1.0]
    assert found == [
        Record("data/x.csv:2", "ein\u2028Satz", "zwei ☃", "a", "a", 0.7, right, 1.0, details[0]),
        Record("data/x.csv:3", 'b "quoted"\nline', None, "b", "a", 0.55, wrong, 0.0, details[1]),
        Record("data/x.csv:9", "c", None, "new", "b", 0.876543, wrong, 0.0, details[2]),
    ]
    assert [record.is_correct for record in found] == [True, False, False]


def test_each_line_is_json():
    lines = to_jsonl(TASK, ROWS, PREDICTIONS).split("\n")
    assert lines[-1] == ""
    assert [json.loads(line)["text"] for line in lines[:-1]] == [row.text for row in ROWS]


def test_rows_and_predictions_must_pair_up():
    with pytest.raises(ValueError, match="shorter than argument 1"):
        to_jsonl(TASK, ROWS, PREDICTIONS[:2])


def test_mistakes_are_the_most_confident_first(tmp_path):
    run = write(tmp_path / "run")
    assert [record.row for record in mistakes(run)] == ["data/x.csv:9", "data/x.csv:3"]
    assert [record.row for record in mistakes(run, 1)] == ["data/x.csv:9"]


def test_no_predictions(tmp_path):
    with pytest.raises(RunError, match=r"has no predictions\.jsonl: it is no run's folder, or the"):
        read_records(tmp_path)


@pytest.mark.parametrize("line", ['{"row": ', '{"row": "x"}', '{"row": "x", "colour": 1}', "[]"])
def test_a_damaged_line_is_named(tmp_path, line):
    run = write(tmp_path / "run")
    with (run / "predictions.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match=r"predictions\.jsonl line 4 is damaged \("):
        read_records(run)


def test_the_headline_is_that_of_the_task(tmp_path):
    (tmp_path / "metrics.json").write_text('{"headline": {"name": "accuracy", "form": "mean"}}')
    assert read_headline(tmp_path) == TASK.headline


@pytest.mark.parametrize("content", [None, "{", "{}", '{"headline": {"colour": 1}}', "[]"])
def test_a_run_without_a_metric_has_no_headline(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(RunError, match=r"metrics\.json cannot be read, or names no metric"):
        read_headline(tmp_path)
