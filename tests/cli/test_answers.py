import csv
import io
import json
from pathlib import Path

import pytest

from inlay.cli.answers import answered, layout_of
from inlay.data.inputs import InputRow, Inputs
from inlay.data.rows import Example
from inlay.errors import ConfigError

BEST = [
    {"predicted_label": "good", "probability": 0.9},
    {"predicted_label": "bad", "probability": 0.8},
]


def inputs(columns=("id", "text", "tags")):
    records = [
        {"id": 1, "text": 'said "fine", then\nleft', "tags": ["a", "b"]},
        {"id": 2, "text": "awful", "tags": None},
    ]
    rows = [
        InputRow(Example(r["text"], None, "", "in.csv", n), r)
        for n, r in enumerate(records, start=2)
    ]
    return Inputs(
        path="in.csv", layout="csv", separator=",", encoding="utf-8", columns=list(columns),
        rows=rows, rejected=[], notes=[],
    )  # fmt: skip


@pytest.mark.parametrize(("layout", "separator"), [("csv", ","), ("tsv", "\t")])
def test_columns_are_kept_and_answers_added(layout, separator):
    text = answered(inputs(), BEST, layout=layout)
    rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    assert rows == [
        ["id", "text", "tags", "predicted_label", "probability"],
        ["1", 'said "fine", then\nleft', '["a", "b"]', "good", "0.9"],
        ["2", "awful", "", "bad", "0.8"],
    ]


def test_json_lines_keep_their_types():
    text = answered(inputs(), BEST, layout="jsonl")
    first = json.loads(text.splitlines()[0])
    assert first == {
        "id": 1, "text": 'said "fine", then\nleft', "tags": ["a", "b"], "predicted_label": "good",
        "probability": 0.9,
    }  # fmt: skip


def test_an_answer_without_a_column_leaves_it_empty():
    answers = [BEST[0], {"predicted_label": "bad", "note": ["x"]}]
    header, first, second = csv.reader(io.StringIO(answered(inputs(), answers, layout="csv")))
    assert header[3:] == ["predicted_label", "probability", "note"]
    assert first[3:] == ["good", "0.9", ""]
    assert second[3:] == ["bad", "", '["x"]']


def test_a_column_of_the_same_name_is_not_overwritten():
    with pytest.raises(ConfigError, match="has a column 'probability' already; rename it"):
        answered(inputs(("id", "probability")), BEST, layout="csv")


def test_layout_comes_from_the_name():
    assert layout_of(Path("a.TSV")) == "tsv"
    with pytest.raises(ConfigError, match=r"--output a.xlsx: the name must end in .csv, .tsv"):
        layout_of(Path("a.xlsx"))
