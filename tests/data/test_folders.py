"""Folders: a file for each split, or a folder for each class."""

import pytest

from inlay.data.sources import read_dataset
from inlay.errors import DataError


def rows(name, count):
    return "text,label\n" + "".join(f"{name} words {n},{'ab'[n % 2]}\n" for n in range(count))


@pytest.mark.parametrize("validation", ["validation", "dev", "val", "valid"])
def test_a_file_for_each_split(tmp_path, validation):
    for name, count in (("train", 30), (validation, 10), ("test", 12)):
        (tmp_path / f"{name}.csv").write_text(rows(name, count))
    data = read_dataset(tmp_path)
    assert {k: len(v) for k, v in data.splits.items()} == {
        "train": 30, "validation": 10, "test": 12,
    }  # fmt: skip
    assert not data.made_splits


def test_a_folder_for_each_class(tmp_path):
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        for n in range(20):
            (tmp_path / label / f"{n:02}.txt").write_text(f"a {label} text number {n}\n")
    (tmp_path / "neg" / "99.txt").write_text("")
    data = read_dataset(tmp_path, max_rejected=0.1)
    assert data.labels == ["neg", "pos"]
    assert sum(len(part) for part in data.splits.values()) == 40
    assert [row.reason for row in data.rejected] == ["text is empty"]


def test_a_folder_of_nothing(tmp_path):
    with pytest.raises(DataError, match=tmp_path.name):
        read_dataset(tmp_path)
