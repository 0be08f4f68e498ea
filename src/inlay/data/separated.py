"""CSV and TSV: find the separator, read the rows, and lose none of them to a stray quote."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from inlay.data.decoding import fault_in, printable, read_text
from inlay.data.rows import Rejected
from inlay.data.table import Table
from inlay.errors import DataError

SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SNIFFED_LINES = 200
_SEPARATOR_LINE = re.compile(r'sep=([^\w\s"]|\t)\s*$')


class Form(NamedTuple):
    """How the cells of a file are set apart."""

    separator: str
    skip_space: bool = False
    has_quotes: bool = True


class Record(NamedTuple):
    """One record: the lines it spans (from 0, end excluded), and its cells or its fault."""

    start: int
    end: int
    cells: list[str]
    fault: str | None


class Parsed(NamedTuple):
    """The records of a file, sorted by what can be done with them."""

    rows: list[list[str]]
    starts: list[int]
    ends: list[int]
    rejected: list[Rejected]
    quote_faults: int
    num_blank: int
    longest: tuple[int, int]


def read_separated(path: Path, *, name: str) -> Table:
    """Read a file with a header line and one record a row.

    Args:
        path: The file, plain or gzipped.
        name: What to call it in messages and row ids.

    Raises:
        DataError: If it has no rows, or a column's name appears twice.
    """
    decoded = read_text(path, name=name)
    # StringIO splits at \n, \r\n and \r only; str.splitlines would also split inside texts.
    lines = list(io.StringIO(decoded.text, newline=""))
    limit = csv.field_size_limit(len(decoded.text) + 1)
    try:
        first, form = _find_form(lines, prefers_tab=".tsv" in name.lower())
        header = next(_records(lines, first, form))
        if decoded.has_faults:
            fault = fault_in("".join(lines[header.start : header.end]), decoded.encoding)
            header = header._replace(fault=fault or header.fault)
        columns = _name_columns(header, name)
        parsed = _parse(lines, header.end, form, width=len(columns), name=name)
        notes = []
        if parsed.quote_faults and form.separator == "\t":
            plain = form._replace(has_quotes=False)
            other = _parse(lines, header.end, plain, width=len(columns), name=name)
            if len(other.rejected) < len(parsed.rejected):
                parsed = other
                notes.append(f"{name}: quote marks are read as part of the text.")
    finally:
        csv.field_size_limit(limit)
    if not parsed.rows and not parsed.rejected:
        raise DataError(f"{name} has only a header ({', '.join(columns)}): no rows to read.")
    notes += _describe(parsed, name)
    rejected = parsed.rejected
    if decoded.has_faults:
        rejected = [
            row._replace(reason=fault_in(row.raw, decoded.encoding) or row.reason)
            for row in rejected
        ]
        rejected = [row._replace(raw=printable(row.raw)) for row in rejected]
    return Table(
        name=name,
        path=str(path),
        layout="csv",
        sha256=decoded.sha256,
        encoding=decoded.encoding,
        separator=form.separator,
        columns=columns,
        rows=parsed.rows,
        lines=parsed.starts,
        raw=lambda index: printable("".join(lines[parsed.starts[index] - 1 : parsed.ends[index]])),
        rejected=rejected,
        notes=notes,
        has_faults=decoded.has_faults,
    )


def _find_form(lines: list[str], *, prefers_tab: bool) -> tuple[int, Form]:
    """Return the index of the header line and the form that fits the first lines best."""
    first = next(index for index, line in enumerate(lines) if line.strip())
    stated = _SEPARATOR_LINE.match(lines[first])
    after = (index for index, line in enumerate(lines) if index > first and line.strip())
    header = next(after, None) if stated else None
    if stated and header is not None:
        return header, Form(stated[1])
    candidates = "\t,;|" if prefers_tab else ",;\t|"
    best, best_score = Form(candidates[0]), (0.0, 0)
    sample = lines[first : first + _SNIFFED_LINES]
    for separator in candidates:
        rows = [row for row in csv.reader(sample, delimiter=separator) if row]
        width = len(rows[0])
        if width < 2:
            continue
        share = sum(len(row) == width for row in rows) / len(rows)
        if (share, width) > best_score:
            best_score = (share, width)
            spaced = all(cell.startswith(" ") for row in rows[:20] for cell in row[1:] if cell)
            best = Form(separator, skip_space=spaced and separator != "\t")
    return first, best


def _records(lines: list[str], first: int, form: Form) -> Iterator[Record]:
    """Yield every record; after a fault of quoting, go on at the line after the record's start."""
    at, total = first, len(lines)
    while at < total:
        base = start = at
        reader = csv.reader(
            map(lines.__getitem__, range(at, total)),
            delimiter=form.separator,
            skipinitialspace=form.skip_space,
            quoting=csv.QUOTE_MINIMAL if form.has_quotes else csv.QUOTE_NONE,
            strict=True,
        )
        try:
            for cells in reader:
                end = base + reader.line_num
                yield Record(start, end, cells, None)
                start = end
            at = total
        except csv.Error as error:
            fault = _word_fault(str(error), start, base + reader.line_num)
            yield Record(start, start + 1, [], fault)
            at = start + 1


def _word_fault(message: str, start: int, end: int) -> str:
    if "expected after" not in message:
        return "a quote is opened and never closed"
    if end == start + 1:
        return "text after a closing quote (a quote inside quotes is written twice)"
    return f"a quote is opened and not closed on the line (nearest quote: line {end})"


def _parse(lines: list[str], first: int, form: Form, *, width: int, name: str) -> Parsed:
    rows: list[list[str]] = []
    starts: list[int] = []
    ends: list[int] = []
    rejected: list[Rejected] = []
    quote_faults = num_blank = 0
    longest = (0, 0)
    for start, end, cells, fault in _records(lines, first, form):
        if len(cells) == width:
            rows.append(cells)
            starts.append(start + 1)
            ends.append(end)
            if end - start > 1 and end - start > longest[1] - longest[0]:
                longest = (start, end)
        elif fault is None and (not cells or (len(cells) == 1 and not cells[0].strip())):
            num_blank += 1
        else:
            quote_faults += fault is not None
            reason = fault or f"{_count(width, 'column')} expected, {len(cells)} found"
            raw = "".join(lines[start:end]).rstrip("\r\n")
            rejected.append(Rejected(name, start + 1, reason, raw))
    return Parsed(rows, starts, ends, rejected, quote_faults, num_blank, longest)


def _name_columns(header: Record, name: str) -> list[str]:
    if header.fault:
        raise DataError(
            f"{name}: the header (line {header.start + 1}) has a fault: {header.fault}."
        )
    columns = [
        cell.strip() or f"column {index}" for index, cell in enumerate(header.cells, start=1)
    ]
    seen: dict[str, int] = {}
    for index, column in enumerate(columns, start=1):
        if column in seen:
            raise DataError(
                f'{name}: the header names column "{column}" twice (columns {seen[column]} and '
                f"{index}). Rename one of them."
            )
        seen[column] = index
    return columns


def _describe(parsed: Parsed, name: str) -> list[str]:
    notes = []
    if parsed.num_blank:
        notes.append(f"{name}: {_count(parsed.num_blank, 'blank line')} skipped.")
    if parsed.longest[1]:
        spanning = sum(
            end - start > 0 for start, end in zip(parsed.starts, parsed.ends, strict=True)
        )
        start, end = parsed.longest
        verb = "spans" if spanning == 1 else "span"
        notes.append(
            f"{name}: {_count(spanning, 'row')} {verb} several lines (quoted line breaks); "
            f"the longest is lines {start + 1}-{end}."
        )
    return notes


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
