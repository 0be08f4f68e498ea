"""Rows to be measured on."""

import json

import pytest

from inlay.data.labelled import read_labelled
from inlay.data.sources import read_dataset
from inlay.errors import DataError


def test_a_single_file_is_read_whole(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"words {n},{'ab'[n % 2]}\n" for n in range(14)))
    rows, notes = read_labelled(path, label_map={"a": "A"})
    assert len(rows) == 14
    assert notes == ['label "a" renamed to "A": 7 rows.']
    assert {row.label for row in rows} == {"A", "b"}


def test_a_split_of_several():
    assert len(read_labelled("banking77", split="validation")[0]) == 999
    with pytest.raises(DataError, match="has no split 'tset'; it has train, validation, test"):
        read_labelled("banking77", split="tset")


def test_a_folder_with_a_test_split_only(tmp_path):
    for name, count in (("validation", 8), ("test", 14)):
        lines = "".join(f"words {n},{'ab'[n % 2]}\n" for n in range(count))
        (tmp_path / f"{name}.csv").write_text("text,label\n" + lines)
    assert len(read_labelled(tmp_path)[0]) == 14
    assert len(read_labelled(tmp_path, split="validation")[0]) == 8
    with pytest.raises(DataError, match="has no split 'train'; it has validation, test"):
        read_labelled(tmp_path, split="train")
    with pytest.raises(DataError, match="has no train split"):
        read_dataset(tmp_path)


def test_what_is_left_out_and_corrected_is_told(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [
        {"question": "who?", "context": f"it was {n}", "answers": {"text": [str(n)],
         "answer_start": [7 if n else 2]}}
        for n in range(20)
    ]  # fmt: skip
    rows[5]["question"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, notes = read_labelled(path, max_rejected=0.1)
    assert len(found) == 19
    assert notes == [
        "1 row left out: line 6: question is empty.",
        "1 x answer not at its offset, found elsewhere and corrected.",
    ]
