"""Rows to be measured on."""

import pytest

from inlay.data.labelled import read_labelled
from inlay.data.sources import read_dataset
from inlay.errors import DataError


def test_a_single_file_is_read_whole(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"words {n},{'ab'[n % 2]}\n" for n in range(14)))
    rows = read_labelled(path, label_map={"a": "A"})
    assert len(rows) == 14
    assert {row.label for row in rows} == {"A", "b"}


def test_a_split_of_several():
    assert len(read_labelled("banking77", split="validation")) == 999
    with pytest.raises(DataError, match="has no split 'tset'; it has train, validation, test"):
        read_labelled("banking77", split="tset")


def test_a_folder_with_a_test_split_only(tmp_path):
    for name, count in (("validation", 8), ("test", 14)):
        lines = "".join(f"words {n},{'ab'[n % 2]}\n" for n in range(count))
        (tmp_path / f"{name}.csv").write_text("text,label\n" + lines)
    assert len(read_labelled(tmp_path)) == 14
    assert len(read_labelled(tmp_path, split="validation")) == 8
    with pytest.raises(DataError, match="has no split 'train'; it has validation, test"):
        read_labelled(tmp_path, split="train")
    with pytest.raises(DataError, match="has no train split"):
        read_dataset(tmp_path)
