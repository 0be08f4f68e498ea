"""Bytes to text, with undecodable ones named."""

import pytest

from inlay.data.decoding import fault_in, printable, read_text
from inlay.errors import DataError


def test_a_bad_byte_is_kept_apart_and_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"caf\xe9\nfine\n")
    decoded = read_text(path, name="t.csv")
    assert decoded.has_faults
    first, second = decoded.text.splitlines()
    assert fault_in(first, decoded.encoding) == "not valid utf-8 (byte 0xE9)"
    assert fault_in(second, decoded.encoding) is None
    assert printable(first) == "caf\\xE9"


def test_a_nul_byte(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a\x00b,c\n")
    decoded = read_text(path, name="t.csv")
    assert fault_in(decoded.text, decoded.encoding) == "contains a NUL byte"


BLANKS = ["\u00a0\u3000\n".encode(), b"\xff\xfe\n\x00", b"\xef\xbb\xbf"]


@pytest.mark.parametrize("content", [b"", b"  \n\n", *BLANKS])
def test_an_empty_file(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match="t.csv is empty: there are no rows to read"):
        read_text(tmp_path / "t.csv", name="t.csv")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"t\.csv"):
        read_text(tmp_path / "t.csv", name="t.csv")
