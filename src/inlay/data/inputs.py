"""Texts without labels, read for prediction, each with its line and its whole record."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from inlay.data.checking import check_rows
from inlay.data.columns import Roles, find_columns
from inlay.data.decoding import fault_in, printable, read_text
from inlay.data.finding import read_table
from inlay.data.rows import Rejected
from inlay.data.table import MISSING
from inlay.errors import DataError


class InputRow(NamedTuple):
    """One text to predict for: its line, and the record it came from, in column order."""

    text: str
    pair: str | None
    line: int
    record: dict[str, Any]


@final
@dataclass(kw_only=True, slots=True)
class Inputs:
    """The rows of one file to predict for, in file order.

    Args:
        path: The file.
        layout: "csv", "jsonl", "parquet" or "txt": what to write an answer file as.
        separator: Between columns of a "csv"; `None` otherwise.
        encoding: How the bytes were decoded.
        columns: Names of the file's columns, in order.
        text_column: Where the texts are; `None` in a "txt".
        pair_column: Where the second texts are, if anywhere.
        rows: The usable rows.
        rejected: The others, with reasons.
        notes: What was decided, in sentences.
    """

    path: str
    layout: str
    separator: str | None
    encoding: str
    columns: list[str]
    text_column: str | None
    pair_column: str | None
    rows: list[InputRow]
    rejected: list[Rejected]
    notes: list[str]


def read_inputs(
    source: str | Path, *, text_column: str | None = None, pair_column: str | None = None
) -> Inputs:
    """Read texts to predict for, with or without labels beside them.

    Args:
        source: A CSV, TSV, JSONL or Parquet file, or a `.txt` with one text a line; the text
            formats also as `.gz`.
        text_column: Where the texts are; guessed if `None`.
        pair_column: Where the second texts are, if anywhere; guessed if `None`.

    Raises:
        DataError: If the file cannot be read, or a column is not there or cannot be guessed.
    """
    path = Path(source)
    if not path.is_file():
        raise DataError(f"{source} does not exist, or is no file.")
    if path.name.removesuffix(".gz").endswith(".txt"):
        return _read_lines(path)
    table = read_table(path, path.name)
    if len(table.columns) == 1 and text_column is None:
        text_column = table.columns[0]
    roles = find_columns(table, text_column=text_column, pair_column=pair_column, needs_label=False)
    examples, rejected = check_rows(table, Roles(roles.text, roles.pair, None, 1.0))
    records = dict(zip(table.lines, table.rows, strict=True))
    rows = [
        InputRow(
            example.text, example.pair, example.line,
            {
                name: value
                for name, value in zip(table.columns, records[example.line], strict=True)
                if value is not MISSING
            },
        )
        for example in examples
    ]  # fmt: skip
    return Inputs(
        path=str(path), layout=table.layout, separator=table.separator, encoding=table.encoding,
        columns=table.columns, text_column=roles.text, pair_column=roles.pair, rows=rows,
        rejected=rejected, notes=table.notes,
    )  # fmt: skip


def _read_lines(path: Path) -> Inputs:
    """Read one text a line; an empty line is rejected, so that answers can be told apart."""
    decoded = read_text(path, name=path.name)
    # StringIO splits at \n, \r\n and \r only; str.splitlines would also split inside texts.
    lines = [line.rstrip("\r\n") for line in io.StringIO(decoded.text, newline="")]
    rows, rejected = [], []
    for number, line in enumerate(lines, start=1):
        reason = "text is empty" if not line.strip() else fault_in(line, decoded.encoding)
        if reason is None:
            rows.append(InputRow(line, None, number, {"text": line}))
        else:
            rejected.append(Rejected(path.name, number, reason, printable(line)))
    return Inputs(
        path=str(path), layout="txt", separator=None, encoding=decoded.encoding, columns=["text"],
        text_column=None, pair_column=None, rows=rows, rejected=rejected, notes=[],
    )  # fmt: skip
