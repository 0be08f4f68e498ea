"""Texts without labels, read for prediction, each with its line and its whole record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from inlay.data.checking import check_rows
from inlay.data.columns import Roles, find_columns
from inlay.data.decoding import printable, read_text
from inlay.data.finding import read_table
from inlay.data.rows import Rejected
from inlay.data.table import MISSING, Table
from inlay.errors import DataError


@final
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
        rejected: The others, with reasons; `rows` and `rejected` add up to the rows read.
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
    """Read texts to predict for from CSV, TSV, JSONL, Parquet or TXT, also gzipped.

    Args:
        source: The file; a TXT holds one text a line.
        text_column: Where the texts are; guessed if `None`.
        pair_column: Where the second texts of pairs are; guessed if `None`.

    Raises:
        DataError: If the file is not there, cannot be read, or lacks a column.
        MissingExtraError: If the format needs a package that is not installed.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    is_text = path.name.lower().removesuffix(".gz").endswith(".txt")
    if is_text and (text_column or pair_column):
        raise DataError(
            f"{path.name} is a text file, one text a line: it has no columns to name. Leave out "
            "--text-column and --pair-column."
        )
    table = _read_lines(path) if is_text else read_table(path, path.name)
    roles = Roles("text", None, None, 1.0)
    if not is_text:
        roles = find_columns(
            table, text_column=text_column, pair_column=pair_column, needs_label=False
        )
    examples, rejected = check_rows(table, roles)
    # Both lists are in file order and every line starts at most one row.
    records = dict(zip(table.lines, table.rows, strict=True))
    rows = [
        InputRow(row.text, row.pair, row.line, _record(table, records[row.line]))
        for row in examples
    ]
    return Inputs(
        path=str(path),
        layout=table.layout,
        separator=table.separator,
        encoding=table.encoding,
        columns=table.columns,
        text_column=None if is_text else roles.text,
        pair_column=roles.pair,
        rows=rows,
        rejected=rejected,
        notes=table.notes,
    )


def _record(table: Table, cells: list[Any]) -> dict[str, Any]:
    pairs = zip(table.columns, cells, strict=True)
    return {column: cell for column, cell in pairs if cell is not MISSING}


def _read_lines(path: Path) -> Table:
    decoded = read_text(path, name=path.name)
    lines = decoded.text.split("\n")
    if not lines[-1].strip():
        lines.pop()
    rows = [[line.removesuffix("\r")] for line in lines]
    return Table(
        name=path.name,
        path=str(path),
        layout="txt",
        sha256=decoded.sha256,
        encoding=decoded.encoding,
        separator=None,
        columns=["text"],
        rows=rows,
        lines=range(1, len(rows) + 1),
        raw=lambda index: printable(lines[index]),
        has_faults=decoded.has_faults,
    )
