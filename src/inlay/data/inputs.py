"""Texts without labels, read for prediction, each with its line and its whole record."""

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from inlay.data.checking import check_rows
from inlay.data.columns import Roles, find_columns
from inlay.data.conll import has_columns
from inlay.data.decoding import decode, fault_in, printable, read_text
from inlay.data.finding import read_table, read_text_table
from inlay.data.folders import is_text_file
from inlay.data.formed import read_table_rows
from inlay.data.forms.base import AbstractForm, Place
from inlay.data.forms.tagged import Tagged
from inlay.data.jsonlines import parse_jsonlines
from inlay.data.rows import Example, Rejected
from inlay.data.table import MISSING, Table
from inlay.errors import DataError


class InputRow(NamedTuple):
    """One row to predict for, and the record it came from, in column order."""

    example: Example
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
        rows: The usable rows.
        rejected: The others, with reasons.
        notes: What was decided, in sentences.
    """

    path: str
    layout: str
    separator: str | None
    encoding: str
    columns: list[str]
    rows: list[InputRow]
    rejected: list[Rejected]
    notes: list[str]


def read_inputs(
    source: str | Path,
    *,
    form: AbstractForm | None = None,
    columns: Mapping[str, str] | None = None,
    has_pairs: bool | None = None,
) -> Inputs:
    """Read rows to predict for, with or without what is to be predicted beside them.

    Args:
        source: A CSV, TSV, JSONL or Parquet file, or a `.txt` with one text a line, or with one
            word a line if words are tagged; the text formats also as `.gz`.
        form: The form of the rows; `None` for texts and pairs.
        columns: Role -> column, as far as they are named; the others are found by name.
        has_pairs: Whether there must be second texts, or none are looked for, in rows of texts.

    Raises:
        DataError: If the file cannot be read, or a column is not there or cannot be guessed.
    """
    path = Path(source)
    if not path.is_file():
        raise DataError(f"{source} does not exist, or is no file.")
    is_tagged = form is not None and form.name == Tagged.name
    if is_text_file(path) and not (is_tagged and has_columns(path, name=path.name)):
        return _read_lines(path, form)
    read = read_text_table if is_text_file(path) else read_table
    return _inputs_of(read(path, path.name), form, columns, has_pairs)


def parse_inputs(
    content: bytes,
    *,
    name: str,
    form: AbstractForm | None = None,
    columns: Mapping[str, str] | None = None,
    has_pairs: bool | None = None,
) -> Inputs:
    """Return the rows to predict for of JSON Lines that are in no file.

    Args:
        content: One object a line.
        name: What to call it in messages.
        form: As for `read_inputs`.
        columns: As for `read_inputs`.
        has_pairs: As for `read_inputs`.

    Raises:
        DataError: If no line is an object, or a column is not there or cannot be guessed.
    """
    table = parse_jsonlines(decode(content, name=name), name=name, path=name)
    return _inputs_of(table, form, columns, has_pairs)


def _inputs_of(
    table: Table,
    form: AbstractForm | None,
    columns: Mapping[str, str] | None,
    has_pairs: bool | None,  # noqa: FBT001
) -> Inputs:
    given = dict(columns or {})
    counts: Counter[str] = Counter()
    if form is None:
        examples, rejected = _read_texts(table, given, has_pairs=has_pairs)
    else:
        examples, rejected = read_table_rows(table, form, given, counts, has_target=False)
    records = dict(zip(table.lines, table.rows, strict=True))
    rows = [
        InputRow(
            example,
            {
                name: value
                for name, value in zip(table.columns, records[example.line], strict=True)
                if value is not MISSING
            },
        )
        for example in examples
    ]
    return Inputs(
        path=table.path, layout=table.layout, separator=table.separator, encoding=table.encoding,
        columns=table.columns, rows=rows, rejected=rejected,
        notes=[*table.notes, *(f"{number} x {what}." for what, number in counts.items())],
    )  # fmt: skip


def _read_texts(
    table: Table, given: dict[str, str], *, has_pairs: bool | None
) -> tuple[list[Example], list[Rejected]]:
    """Read texts and pairs; a table of one column has its texts there."""
    unknown = [role for role in given if role not in ("text", "pair")]
    if unknown:
        raise DataError(f"--column {unknown[0]}: this task reads text and pair.")
    if len(table.columns) == 1:
        given.setdefault("text", table.columns[0])
    roles = find_columns(
        table, text_column=given.get("text"), pair_column=given.get("pair"), needs_label=False
    )
    pair = roles.pair
    if has_pairs is False and "pair" not in given:
        pair = None  # a second text that merely happens to be in the file
    if has_pairs and pair is None:
        raise DataError(
            f"{table.name} has no column of second texts (it has {', '.join(table.columns)}), and "
            "this adapter has learnt from pairs of texts. Name it with --pair-column."
        )
    return check_rows(table, Roles(roles.text, pair, None, 1.0))


def _read_lines(path: Path, form: AbstractForm | None) -> Inputs:
    """Read one input a line; an empty line is rejected, so that answers can be told apart."""
    decoded = read_text(path, name=path.name)
    # StringIO splits at \n, \r\n and \r only; str.splitlines would also split inside texts.
    lines = [line.rstrip("\r\n") for line in io.StringIO(decoded.text, newline="")]
    rows, rejected = [], []
    for number, line in enumerate(lines, start=1):
        reason = "text is empty" if not line.strip() else fault_in(line, decoded.encoding)
        place = Place(path.name, number)
        made: Example | str = reason or Example(line, None, "", path.name, number)
        if reason is None and form is not None:
            made = form.example(form.cells_of(line), place, Counter(), has_target=False)
        if isinstance(made, str):
            rejected.append(Rejected(path.name, number, made, printable(line)))
        else:
            rows.append(InputRow(made, {"text": line}))
    return Inputs(
        path=str(path), layout="txt", separator=None, encoding=decoded.encoding, columns=["text"],
        rows=rows, rejected=rejected, notes=[],
    )  # fmt: skip
