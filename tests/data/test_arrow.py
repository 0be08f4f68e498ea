"""Parquet files and saved `datasets` folders."""

import pytest

from inlay.data.sources import read_dataset

pa = pytest.importorskip("pyarrow")
pytest.importorskip("datasets")

ROWS = {
    "text": [f"words number {n}" for n in range(40)],
    "label": [n % 2 for n in range(40)],
    "ids": [[n] for n in range(40)],
    "picture": [{"bytes": b"\x00", "path": "a"} for _ in range(40)],
}


def test_parquet(tmp_path):
    import pyarrow.parquet as pq

    pq.write_table(pa.table(ROWS), tmp_path / "t.parquet")
    data = read_dataset(tmp_path / "t.parquet")
    assert data.labels == ["0", "1"]
    assert sum(len(part) for part in data.splits.values()) == 40
    assert any("columns left out (bytes): picture" in note for note in data.notes)


@pytest.mark.filterwarnings("ignore")
def test_a_saved_folder_with_class_names(tmp_path):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    rows = {key: ROWS[key] for key in ("text", "label")}
    split = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": split}).save_to_disk(str(tmp_path / "saved"))
    assert read_dataset(tmp_path / "saved").labels == ["neg", "pos"]


@pytest.mark.filterwarnings("ignore")
def test_lists_of_class_indices_are_read_as_names(tmp_path):
    import datasets

    names = ["O", "B-city", "I-city"]
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=names)),
        }
    )
    rows = {
        "tokens": [["New", f"York{n}", "!"] for n in range(30)],
        "ner_tags": [[1, 2, 0] for _ in range(30)],
    }
    split = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": split}).save_to_disk(str(tmp_path / "saved"))
    split.to_parquet(str(tmp_path / "rows.parquet"))
    for source in ("saved", "rows.parquet"):
        found = read_dataset(tmp_path / source)
        assert found.form == "tagged"
        assert found.splits["train"][0].parts["tags"] == ["B-city", "I-city", "O"]
        assert found.labels == ["city"]
