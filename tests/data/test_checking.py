"""Rows that cannot be examples say why."""

import pytest

from inlay.data.checking import check_rows, label_kinds
from inlay.data.columns import Roles
from inlay.data.jsonlines import read_jsonlines


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"text": "fine", "label": "x"}\n{"text": null, "label": "x"}\n{"label": "x"}\n'
        '{"text": 7, "label": "x"}\n{"text": "a", "label": null}\n{"text": "a", "label": [1]}\n'
        '{"text": " ", "label": "x"}\n{"text": "b", "label": true}\n{"text": "c", "label": 3}\n'
    )
    return read_jsonlines(path, name="t.jsonl")


def test_reasons(table):
    examples, rejected = check_rows(table, Roles("text", None, "label", 1.0))
    assert [(row.text, row.label, row.line) for row in examples] == [
        ("fine", "x", 1), ("b", "true", 8), ("c", "3", 9),
    ]  # fmt: skip
    assert [(row.line, row.reason) for row in rejected] == [
        (2, "text is null"), (3, "text is missing"), (4, "text is a number, not a text"),
        (5, "label is null"), (6, "label is a list, not a class"), (7, "text is empty"),
    ]  # fmt: skip


def test_kinds_of_label(table):
    assert label_kinds(table, "label") == {"text", "number", "true/false"}


def test_without_labels(table):
    examples, _ = check_rows(table, Roles("text", None, None, 1.0))
    assert {row.label for row in examples} == {""}
    assert len(examples) == 5
