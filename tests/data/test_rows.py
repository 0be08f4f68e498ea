"""The record of a data set adds up."""

from inlay.data.rows import Dataset, Example, FileRecord, Rejected


def test_record():
    file = FileRecord(
        path="f.csv", sha256="0", rows_read=3, rows_used=2, rows_rejected=1, encoding="utf-8",
        separator=",",
    )  # fmt: skip
    data = Dataset(
        name="f", splits={"train": [Example("a", None, "x", "f.csv", 2)],
                          "test": [Example("b", None, "y", "f.csv", 3)]},
        labels=["x", "y"], columns={"text": "text"}, files=[file],
        rejected=[Rejected("f.csv", 4, "text is empty", ",x")], notes=[], made_splits=True,
    )  # fmt: skip
    record = data.to_record()
    assert record["rows"]["read"] == record["rows"]["used"] + record["rows"]["rejected"] == 3
    assert record["row_ids"] == {"train": ["f.csv:2"], "test": ["f.csv:3"]}
    assert record["rejected"][0]["reason"] == "text is empty"
