"""From a source to a data set: counts add up, and nothing is dropped in silence."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inlay.data.inspection import inspect_dataset
from inlay.data.sources import parse_fraction, read_dataset
from inlay.errors import DataError


def write(path, rows, header="text,label"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def good(count=60):
    return [f"some words number {n},{'ab'[n % 2]}" for n in range(count)]


def test_a_file(tmp_path):
    data = read_dataset(write(tmp_path / "reviews.csv", good()))
    assert data.name == "reviews"
    assert data.labels == ["a", "b"]
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 48, "validation": 6, "test": 6}
    record = data.to_record()
    assert record["rows"] == {"read": 60, "used": 60, "rejected": 0, "dropped_unseen_labels": 0}
    assert sum(record["splits"].values()) == record["rows"]["used"]


def test_the_built_in_set():
    data = read_dataset("banking77")
    assert len(data.labels) == 77
    assert {k: len(v) for k, v in data.splits.items()} == {
        "train": 8993, "validation": 999, "test": 3080,
    }  # fmt: skip


def test_more_rejected_than_allowed(tmp_path):
    path = write(tmp_path / "r.csv", [*good(), ",a", "no label,"])
    with pytest.raises(
        DataError,
        match=r"r.csv: 2 of 62 rows cannot be used \(3.2 %\).*"
        "line 62: text is empty; line 63: label is empty.*--max-rejected",
    ):
        read_dataset(path)
    data = read_dataset(path, max_rejected=0.05)
    assert data.notes[0] == "2 rows left out: line 62: text is empty; line 63: label is empty."
    assert [(row.line, row.reason) for row in data.rejected] == [
        (62, "text is empty"), (63, "label is empty"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), [("5%", 0.05), ("5 %", 0.05), ("0.05", 0.05), ("0", 0.0), ("100%", 1.0)]
)
def test_fractions(text, expected):
    assert parse_fraction(text) == expected


@pytest.mark.parametrize("text", ["five", "120%", "-1", ""])
def test_what_is_no_fraction(text):
    with pytest.raises(DataError, match="is not a fraction"):
        parse_fraction(text)


CELLS = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=1, max_size=8))
def test_read_is_used_plus_rejected(tmp_path_factory, junk):
    """Whatever stands in the file, every row is used or rejected with a line and a reason."""
    path = tmp_path_factory.mktemp("junk") / "junk.csv"
    lines = [",".join(cells) for cells in junk]
    path.write_bytes("\n".join(["text,label", *good(20), *lines]).encode("utf-8") + b"\n")
    try:
        data = read_dataset(path, max_rejected=1.0)
    except DataError:
        return  # refused as a whole, with a message
    for record in data.files:
        assert record.rows_read == record.rows_used + record.rows_rejected
    assert len(data.rejected) == sum(record.rows_rejected for record in data.files)
    assert all(row.reason and row.line > 1 for row in data.rejected)
    used = sum(record.rows_used for record in data.files)
    assert sum(len(part) for part in data.splits.values()) == used


FRAGMENTS = st.lists(
    st.sampled_from(
        [b'"', b'""', b",", b";", b"\t", b"\n", b"\r\n", b"\r", b"\0", b"\xe9", b"\xff\xfe",
         b"\xef\xbb\xbf", b"{", b"}", b"[]", b"null", b"NaN", b"\\ud800", b":", b"\xc2\xa0",
         b"\xe2\x80\xa8", b"\x0c", b"text", b"label", b"sep=;\n", b"1.0"]
    ),
    max_size=12,
)  # fmt: skip
ROWS_OF = {
    ".csv": ("text,label\n" + "".join(f"{row}\n" for row in good(12))).encode(),
    ".tsv": b"text\tlabel\n" + b"".join(b"words %d\tab\n" % n for n in range(12)),
    ".jsonl": b"".join(
        b'{"text": "words %d", "label": "%s"}\n' % (n, b"ab"[n % 2 :]) for n in range(12)
    ),
}


@pytest.mark.parametrize("ending", list(ROWS_OF))
@settings(max_examples=60, deadline=None)
@given(before=FRAGMENTS, inside=FRAGMENTS, place=st.floats(0, 1))
def test_damaged_bytes_are_counted_or_refused(tmp_path_factory, ending, before, inside, place):
    """No bytes make a reader fail, lose a row, or return what cannot be written as UTF-8."""
    rows = ROWS_OF[ending]
    cut = int(place * len(rows))
    path = tmp_path_factory.mktemp("bytes") / f"damaged{ending}"
    path.write_bytes(b"".join(before) + rows[:cut] + b"".join(inside) + rows[cut:])
    try:
        found = inspect_dataset(path)
    except DataError as error:
        assert str(error).encode()
        return
    (record,) = found.files
    assert record.rows_read == record.rows_used + record.rows_rejected
    assert record.rows_rejected == len(found.rejected)
    assert all(row.reason and row.line >= 1 for row in found.rejected)
    assert json.dumps(found.to_json(), ensure_ascii=False).encode()


def test_no_heavy_package_is_loaded(tmp_path):
    path = write(tmp_path / "r.csv", good())
    program = (
        "import sys; from inlay.data.inspection import inspect_dataset\n"
        "inspect_dataset(sys.argv[1])\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pandas', 'pydantic', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def unseen_folder(tmp_path):
    """Write a folder whose test split has a label that train does not have."""
    folder = tmp_path / "split"
    folder.mkdir()
    write(folder / "train.csv", good())
    write(folder / "validation.csv", [f"other words {n},{'ab'[n % 2]}" for n in range(6)])
    write(folder / "test.csv", ["last words,a", "new words,c", "newer words,c"])
    return folder


@pytest.mark.parametrize("task", ["similarity", "zero-shot"])
def test_labels_that_only_test_has_are_kept_where_they_can_be_asked(tmp_path, task):
    data = read_dataset(unseen_folder(tmp_path), task=task)
    assert [row.label for row in data.splits["test"]] == ["a", "c", "c"]
    assert data.labels == ["a", "b"], "those of train"
    assert data.dropped_unseen == 0


@pytest.mark.parametrize("task", [None, "text-classification"])
def test_labels_that_only_test_has_are_refused_elsewhere(tmp_path, task):
    with pytest.raises(DataError, match=r"^label \"c\" occurs in test \(2 rows\) but not in train"):
        read_dataset(unseen_folder(tmp_path), task=task)


def test_labels_that_only_test_has_are_dropped_if_asked(tmp_path):
    data = read_dataset(unseen_folder(tmp_path), task="similarity", drop_unseen_labels=True)
    assert [row.label for row in data.splits["test"]] == ["a"]
    assert data.dropped_unseen == 2
