"""Folders: a file for each split, or a folder for each class."""

import pytest

from inlay.data.folders import find_split_files, split_of
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


@pytest.mark.parametrize(
    ("stem", "split"),
    [
        ("train-v2.0", "train"),
        ("dev-v1.1", "validation"),
        ("squad_test_v2", "test"),
        ("train-v2-old", None),
        ("trainv2", None),
    ],
)
def test_a_version_behind_the_split(stem, split):
    assert split_of(stem) == split


def test_files_that_name_no_split_are_refused_even_without_train(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(rows(name, 3))
    for needs_train in (True, False):
        with pytest.raises(DataError, match=r"has no train split. It has: a.csv, b.csv"):
            find_split_files(tmp_path, needs_train=needs_train)
