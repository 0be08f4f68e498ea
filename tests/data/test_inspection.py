"""What `inlay inspect` sees."""

import pytest

from inlay.data.inspection import inspect_dataset, near_spellings, telling_labels
from inlay.data.rows import Example
from inlay.errors import DataError


def write(tmp_path, *rows):
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["id,text,label", *rows]) + "\n")
    return path


def test_everything_at_once(tmp_path):
    good = [f"{n},a fine text number {n},{'good' if n % 3 else 'bad'}" for n in range(60)]
    path = write(
        tmp_path,
        *good,
        "60,a fine text number 1,bad",
        "61,A FINE text  number 2,good",
        "62,,bad",
        "63,odd one,Good",
    )
    found = inspect_dataset(path)
    assert found.num_read == 64
    assert [(row.line, row.reason) for row in found.rejected] == [(64, "text is empty")]
    assert (found.duplicates, found.conflicts) == (2, 1)
    assert (found.example.first, found.example.second) == ("reviews.csv:3", "reviews.csv:62")
    assert found.example.labels == ("good", "bad")
    assert found.spellings == {"Good": "good"}
    assert found.ids == ["id"]
    assert found.small == {"Good": 1}
    assert found.lengths["text"].median == 5
    assert found.to_json()["files"][0]["rows_read"] == 64


def test_near_spellings():
    labels = {"card_arrival": 90, "card arrival": 3, "refund_please": 50, "refund_plaese": 1,
              "top_up_1": 50, "top_up_2": 2}  # fmt: skip
    assert near_spellings(labels) == {
        "card arrival": "card_arrival", "refund_plaese": "refund_please",
    }  # fmt: skip


def test_labels_that_stand_in_their_texts():
    rows = [Example(f"[spam] buy {n}", None, "spam", "f", n) for n in range(10)]
    rows += [Example(f"hello {n}", None, "ham", "f", n) for n in range(30)]
    assert telling_labels(rows, {"spam": 10, "ham": 30}) == ["spam"]


def test_no_usable_row(tmp_path):
    with pytest.raises(DataError, match=r"none of 1 rows can be used \(text is empty, line 2\)"):
        inspect_dataset(write(tmp_path, "1,,x"), text_column="text", label_column="label")
