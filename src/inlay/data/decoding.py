"""From a file's bytes to its text: gzip, byte-order marks, UTF-16 and bytes that are no UTF-8."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

from inlay.errors import DataError

_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_FOREIGN_STARTS = (
    (b"PK\x03\x04", "a spreadsheet or zip archive", "Export the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet", "Export the sheet as CSV"),
    (b"PAR1", "a Parquet file", "Give it the ending .parquet"),
    (b"%PDF", "a PDF", "Give a CSV, TSV, JSONL or Parquet file"),
    (b"BZh", "a bzip2 archive", "Unpack it, or compress it with gzip"),
    (b"\xfd7zXZ", "an xz archive", "Unpack it, or compress it with gzip"),
)
_BAD_BYTE = re.compile("[\udc80-\udcff\ufffd]")


@final
@dataclass(kw_only=True, slots=True)
class Decoded:
    """A file's text and how it was reached.

    Args:
        text: Without byte-order mark; a byte that is no UTF-8 stands as a lone surrogate.
        encoding: "utf-8", "utf-16-le" and so on.
        sha256: Of the bytes on disk, before unpacking.
        has_faults: Whether a row may hold a NUL or a byte that could not be decoded.
    """

    text: str
    encoding: str
    sha256: str
    has_faults: bool


def read_text(path: Path, *, name: str) -> Decoded:
    """Read a text file, plain or gzipped, in UTF-8, UTF-16 or UTF-32.

    Args:
        path: The file.
        name: What to call it in messages.

    Raises:
        DataError: If it cannot be read, is damaged, is empty, or is no text.
    """
    return decode(_read_bytes(path, name), name=name)


def decode(packed: bytes, *, name: str) -> Decoded:
    """Return the text of a file's bytes.

    Args:
        packed: As they are on disk, gzipped or not.
        name: What to call them in messages.

    Raises:
        DataError: If they are damaged, there are none, or they are no text.
    """
    sha256 = hashlib.sha256(packed).hexdigest()
    data = _unpack(packed, name)
    for start, what, advice in _FOREIGN_STARTS:
        if data.startswith(start):
            raise DataError(f"{name} is {what}, not a table in plain text. {advice}.")
    encoding, data = _find_encoding(data)
    try:
        text, is_clean = data.decode(encoding), True
    except UnicodeDecodeError:
        errors = "surrogateescape" if encoding == "utf-8" else "replace"
        text, is_clean = data.decode(encoding, errors), False
    # Asked of the text, because blanks outside ASCII are no blanks among the bytes.
    if not text or text.isspace():
        raise DataError(f"{name} is empty: there are no rows to read.")
    return Decoded(
        text=text,
        encoding=encoding,
        sha256=sha256,
        has_faults=not is_clean or "\0" in text,
    )


def fault_in(text: str, encoding: str) -> str | None:
    """Return why a piece of decoded text cannot be used, or `None` if it can.

    Args:
        text: A row or a cell of a file whose `has_faults` is true.
        encoding: The file's encoding, for the wording.
    """
    bad = _BAD_BYTE.search(text)
    if bad and encoding == "utf-8" and bad[0] != "\ufffd":
        return f"not valid utf-8 (byte 0x{ord(bad[0]) - 0xDC00:02X})"
    if bad and encoding != "utf-8":
        return f"not valid {encoding}"
    return "contains a NUL byte" if "\0" in text else None


def printable(text: str) -> str:
    r"""Return decoded text without its line end, and with undecodable bytes written as `\xE9`."""
    cleaned = _BAD_BYTE.sub(
        lambda bad: bad[0] if bad[0] == "\ufffd" else f"\\x{ord(bad[0]) - 0xDC00:02X}", text
    )
    return cleaned.rstrip("\r\n")


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"{name} cannot be read: {why.lower()}.") from error


def _unpack(packed: bytes, name: str) -> bytes:
    if not packed.startswith(b"\x1f\x8b"):
        if name.lower().endswith(".gz") and packed:
            raise DataError(f"{name} is not a gzip file, though its name ends in .gz.")
        return packed
    import gzip
    import zlib

    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{name} is a damaged gzip file ({error}). Copy or download it again."
        ) from error


def _find_encoding(data: bytes) -> tuple[str, bytes]:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return encoding, data[len(mark) :]
    sample = data[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    # Mostly-ASCII UTF-16 without a mark has a zero in nearly every second byte.
    if odd > len(sample) * 0.2 and even < len(sample) * 0.02:
        return "utf-16-le", data
    if even > len(sample) * 0.2 and odd < len(sample) * 0.02:
        return "utf-16-be", data
    return "utf-8", data
