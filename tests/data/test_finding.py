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


@pytest.mark.parametrize(
    ("name", "is_joint"), [("t.yaml", True), ("t.yml", True), ("t.doc", False)]
)
def test_a_file_of_several_data_sets_is_told_how_to_be_learnt(tmp_path, name, is_joint):
    (tmp_path / name).write_text("tasks: {}", encoding="utf-8")
    with pytest.raises(DataError, match="has an ending that is not known") as raised:
        read_table(tmp_path / name, name)
    assert str(raised.value).endswith("learnt together by --task joint.") == is_joint
