"""Texts without labels, read for prediction, each with its line and its whole record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from inlay.data.rows import Rejected
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
    """Read texts to predict for from CSV, TSV, JSONL, Parquet or TXT (one text a line), or `.gz`."""
    raise DataError(f"{source}: not readable yet.")
