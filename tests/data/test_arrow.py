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
