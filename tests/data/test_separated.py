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
        ("text,text\na,b\n", r'the header names column "text" twice \(columns 1 and 2\)'),
        (b"PK\x03\x04rest", "not a table in plain text"),
        (b"text,libell\xe9\na,b\n", r"the header \(line 1\) has a fault: not valid utf-8"),
        ('"text,label\na,b\n', "the header .* a quote is opened and never closed"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        table(tmp_path, content)


def test_a_stated_separator(tmp_path):
    found = table(tmp_path, "sep=;\n\ntext;label\na, b;x\n")
    assert (found.columns, found.rows, list(found.lines)) == (
        ["text", "label"], [["a, b", "x"]], [4],
    )  # fmt: skip


def test_what_cannot_be_a_separator_is_a_header(tmp_path):
    assert table(tmp_path, 'sep=",x\na,b\n').columns == ['sep="', "x"]


def test_a_quote_that_is_never_closed_costs_one_row(tmp_path):
    found = table(tmp_path, 'text,label\n"open,x\na,x\n"b, c",y\n')
    assert found.rows == [["a", "x"], ["b, c", "y"]]
    assert [(row.line, row.raw) for row in found.rejected] == [(2, '"open,x')]
    assert "not closed" in found.rejected[0].reason


def test_quotes_in_a_tsv_may_be_text(tmp_path):
    found = table(tmp_path, 'text\tlabel\n"Hi" he said\tx\n', name="t.tsv")
    assert found.rows == [['"Hi" he said', "x"]]
    assert found.notes == ["t.tsv: quote marks are read as part of the text."]
