"""CSV and TSV: separators, quotes, faults by line."""

import pytest

from inlay.data.separated import read_separated
from inlay.errors import DataError


def table(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_separated(path, name=name)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_found(tmp_path, separator):
    rows = "\n".join(
        separator.join(cells) for cells in (["text", "label"], ["a, b", "x"], ["c", "y"])
    )
    rows = rows.replace("a, b", '"a, b"') if separator == "," else rows
    found = table(tmp_path, rows + "\n")
    assert found.separator == separator
    assert found.columns == ["text", "label"]
    assert found.rows == [["a, b", "x"], ["c", "y"]]


def test_quoted_line_breaks_keep_line_numbers_right(tmp_path):
    found = table(tmp_path, 'text,label\n"one\ntwo",a\nthree,b\nfour,five,six\n')
    assert list(found.lines) == [2, 4]
    assert found.rows[0][0] == "one\ntwo"
    (bad,) = found.rejected
    assert (bad.line, bad.reason) == (5, "2 columns expected, 3 found")
    assert bad.raw == "four,five,six"


@pytest.mark.parametrize(
    "content", ["text,label\r\na,x\r\nb,y\r\n", "\ufefftext,label\na,x\nb,y\n"]
)
def test_line_ends_and_byte_order_marks(tmp_path, content):
    found = table(tmp_path, content)
    assert (found.columns, found.rows) == (["text", "label"], [["a", "x"], ["b", "y"]])


def test_utf_16_is_read(tmp_path):
    found = table(tmp_path, "text,label\ncafé,x\n".encode("utf-16"))
    assert found.rows == [["café", "x"]]
    assert found.encoding.startswith("utf-16")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv is empty"),
        ("text,label\n", "t.csv has .*no rows"),
        ("text,text\na,b\n", 'two columns|"text"'),
        (b"PK\x03\x04rest", "not a table in plain text"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        table(tmp_path, content)
