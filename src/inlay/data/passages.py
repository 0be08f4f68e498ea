"""Running text from .txt files, cut into passages at the ends of paragraphs and lines."""

import io
from pathlib import Path

from inlay.data.decoding import fault_in, printable, read_text
from inlay.data.rows import Rejected
from inlay.data.table import Table
from inlay.errors import DataError

_SIZE = 900
"""Characters of a passage, about 200 tokens; signs of scripts without spaces count as three."""


def read_passages(path: Path, *, name: str) -> Table:
    """Read a text file; each row is a passage, and its line is where the passage starts.

    Args:
        path: The file, plain or gzipped.
        name: What to call it in messages and row ids.

    Raises:
        DataError: If there is no text in it.
    """
    decoded = read_text(path, name=name)
    rows: list[list[str]] = []
    lines: list[int] = []
    rejected: list[Rejected] = []
    current: list[str] = []
    begun, size = 1, 0

    def close() -> None:
        text = "".join(current).strip("\r\n")
        if text.strip():
            rows.append([text])
            lines.append(begun)
        current.clear()

    # StringIO splits at \n, \r\n and \r only; str.splitlines would also split inside texts.
    for number, line in enumerate(io.StringIO(decoded.text, newline=""), start=1):
        fault = fault_in(line, decoded.encoding) if decoded.has_faults else None
        if fault:
            rejected.append(Rejected(name, number, fault, printable(line)))
            continue
        length = sum(3 if character >= "\u2e80" else 1 for character in line)
        if current and size + length > _SIZE:
            close()
        if not current:
            begun, size = number, 0
        current.append(line)
        size += length
        if not line.strip() and size > _SIZE // 2:
            close()
    close()
    if not rows:
        raise DataError(f"{name} has no text in it.")
    return Table(
        name=name, path=str(path), layout="txt", sha256=decoded.sha256, encoding=decoded.encoding,
        separator=None, columns=["text"], rows=rows, lines=lines,
        raw=lambda index: printable(rows[index][0]), rejected=rejected,
    )  # fmt: skip
