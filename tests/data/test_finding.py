"""What a source is: a file, a folder, a built-in name."""

import pytest

from inlay.data.finding import find_tables, read_table
from inlay.errors import DataError


def test_a_path_that_is_not_there():
    with pytest.raises(DataError, match=r"revews\.csv"):
        find_tables("revews.csv")


def test_an_ending_that_is_not_known(tmp_path):
    path = tmp_path / "t.xlsx"
    path.write_bytes(b"x")
    with pytest.raises(DataError, match="t.xlsx has an ending that is not known"):
        read_table(path, "t.xlsx")


def test_a_built_in_name_and_its_splits():
    found = find_tables("banking77")
    assert set(found.tables) == {"train", "validation", "test"}
    assert found.first.columns == ["text", "label"]


def test_without_train_the_first_split_tells_the_columns(tmp_path):
    (tmp_path / "test.jsonl").write_text('{"text": "a", "label": "x"}\n')
    found = find_tables(tmp_path, needs_train=False)
    assert list(found.tables) == ["test"]
    assert found.first.columns == ["text", "label"]
    with pytest.raises(DataError, match="has no train split"):
        find_tables(tmp_path)
