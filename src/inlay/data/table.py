"""What a reader makes of one file, before anyone knows which column means what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, final

from inlay.data.rows import Rejected


@final
class Missing(Enum):
    """The value of a cell whose key is absent from a JSON object."""

    MISSING = "missing"


MISSING = Missing.MISSING


@final
@dataclass(kw_only=True, slots=True)
class Table:
    """Rows of equal width from one file, and the rows that did not have the right form.

    Args:
        name: The file's name as messages and row ids show it: "reviews.csv", "pos/0.txt".
        path: The file as it was found.
        layout: "csv", "jsonl", "parquet", "conll" or "txt".
        sha256: Of the bytes on disk.
        encoding: How the bytes were decoded.
        separator: Between columns, if the format has one.
        columns: Their names, in file order.
        rows: Cells in the order of `columns`.
        lines: The line each row starts at, counted from 1.
        raw: From an index into `rows` to the row as it stood in the file.
        rejected: Rows that had the wrong form.
        notes: What was decided, in sentences.
        has_faults: Whether a cell may hold a NUL or an undecodable byte.
        is_typed: Whether a cell may be anything but text.
        class_names: For a column of class indices, the names of the classes.
        row_files: The file of each row, if the table was made of many.
    """

    name: str
    path: str
    layout: str
    sha256: str
    encoding: str
    separator: str | None
    columns: list[str]
    rows: list[list[Any]]
    lines: Sequence[int]
    raw: Callable[[int], str]
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_faults: bool = False
    is_typed: bool = False
    class_names: dict[str, list[str]] = field(default_factory=dict)
    row_files: list[str] | None = None

    def column(self, name: str) -> list[Any]:
        """Return the cells of one column, as a new list."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]
