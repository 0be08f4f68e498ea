"""The record of a data set adds up."""

import pytest

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


@pytest.mark.parametrize(
    ("pairs", "expected"), [(["b", "c"], True), ([None, None], False), (["b", None], None)]
)
def test_pairs_are_told_by_the_rows_of_train(pairs, expected):
    rows = [Example("a", pair, "x", "f.csv", line) for line, pair in enumerate(pairs)]
    data = Dataset(
        name="f", splits={"train": rows, "test": rows[:1]}, labels=["x"], columns={}, files=[],
        rejected=[], notes=[], made_splits=False,
    )  # fmt: skip
    assert data.has_pairs is expected
