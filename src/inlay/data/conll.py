"""Files with one token a line and a blank line between sentences: CoNLL, CoNLL-U, IOB and BIO."""

import re
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple, final

from inlay.data.decoding import fault_in, printable, read_text
from inlay.data.rows import Rejected
from inlay.data.table import Table
from inlay.errors import DataError

CONLL_ENDINGS: Final = (".conll", ".conllu", ".conllup", ".iob", ".iob2", ".bio")
"""Endings of such files."""

_LOOKED_AT = 100_000
"""Characters by which the shape of a file is told."""

_FEWEST = 8
"""Lines that tell a shape."""

_UNIVERSAL = [
    "id", "tokens", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc",
]  # fmt: skip
_NAMED = re.compile(r"#\s*global\.columns\s*=\s*(\S.*)")
_BLANKS = re.compile("[ \t]+")
_LINE_END = re.compile("\r\n|\n|\r")


@final
class _Line(NamedTuple):
    number: int
    text: str
    fields: list[str]


def read_conll(path: Path, *, name: str) -> Table:
    """Read a file of tagged sentences; a row is a sentence, its line that of the first token.

    Columns are divided by tabs, or by blanks where no line has a tab. Their names are those of
    CoNLL-U, or of `# global.columns`; else the first is `tokens`, the last `tags`, and those
    between are `column2`, `column3` and so on. Every cell is a list with a text for each token.

    In CoNLL-U a line that starts with `#` is a comment, and lines of multi-word tokens and of
    empty nodes are skipped; elsewhere a `#` line is a comment unless it has as many columns as the
    others and ends in a tag of theirs, as tweets have such tokens. `-DOCSTART-` lines are skipped.

    Args:
        path: The file, plain or gzipped.
        name: What to call it in messages and row ids.

    Raises:
        DataError: If it cannot be read, or no sentence is in it.
    """
    decoded = read_text(path, name=name)
    lines = _lines_of(decoded.text)
    columns = _columns_of(lines, name)
    sentences, notes = _sentences(lines, columns, name)
    rows, numbers, raw, rejected = [], [], [], []
    for sentence in sentences:
        first = sentence[0].number
        text = printable("\n".join(line.text for line in sentence))
        fault = _fault(sentence, columns, decoded.encoding if decoded.has_faults else None)
        if fault:
            rejected.append(Rejected(name, first, fault, text))
            continue
        rows.append([list(cell) for cell in zip(*(line.fields for line in sentence), strict=True)])
        numbers.append(first)
        raw.append(text)
    return Table(
        name=name, path=str(path), layout="conll", sha256=decoded.sha256,
        encoding=decoded.encoding, separator=None, columns=columns, rows=rows, lines=numbers,
        raw=raw.__getitem__, rejected=rejected, notes=notes, is_typed=True,
    )  # fmt: skip


def has_columns(path: Path, *, name: str) -> bool:
    """Tell whether a file with another ending is one of these, by its lines.

    They have at least two columns each, as many in all of them but for one in fifty, and their
    last columns, the tags, repeat. Running text has no such lines.

    Args:
        path: The file, plain or gzipped.
        name: What to call it in messages.

    Raises:
        DataError: If it cannot be read.
    """
    text = read_text(path, name=name).text
    if len(text) > _LOOKED_AT:
        text = text[:_LOOKED_AT].rpartition("\n")[0]
    lines = [
        line.fields
        for line in _lines_of(text)
        if line.text.strip() and line.text[0] != "#" and line.fields[0] != "-DOCSTART-"
    ]
    if len(lines) < _FEWEST:
        return False
    width, number = Counter(map(len, lines)).most_common(1)[0]
    ends = {fields[-1] for fields in lines if len(fields) == width}
    return width > 1 and 50 * number >= 49 * len(lines) and 2 * len(ends) <= len(lines)


def _lines_of(text: str) -> list[_Line]:
    lines = _LINE_END.split(text)
    has_tabs = any("\t" in line.strip() for line in lines if not line.startswith("#"))
    return [
        _Line(number, line, line.split("\t") if has_tabs else _BLANKS.split(line.strip(" \t")))
        for number, line in enumerate(lines, start=1)
    ]


def _columns_of(lines: list[_Line], name: str) -> list[str]:
    """Return the names of the columns."""
    named = next((found for line in lines if (found := _NAMED.match(line.text))), None)
    if named:
        names = [column.rpartition(":")[2].lower() for column in named[1].split()]
        return ["tokens" if column == "form" else column for column in names]
    widths = Counter(
        len(line.fields) for line in lines if line.text.strip() and not line.text.startswith("#")
    )
    if not widths:
        raise DataError(f"{name} has no line with a token in it, only blank lines and comments.")
    width = widths.most_common(1)[0][0]
    if width == len(_UNIVERSAL) and name.lower().removesuffix(".gz").endswith(".conllu"):
        return list(_UNIVERSAL)
    between = [f"column{number}" for number in range(2, width)]
    return ["tokens", *between, "tags"] if width > 1 else ["tokens"]


def _sentences(
    lines: list[_Line], columns: list[str], name: str
) -> tuple[list[list[_Line]], list[str]]:
    """Return the lines of each sentence that hold a token, and what is to be said of others."""
    has_ids = columns[0] == "id"
    ends = {line.fields[-1] for line in lines if not line.text.startswith("#")}
    sentences: list[list[_Line]] = [[]]
    num_documents = num_composed = 0
    for line in lines:
        is_like_others = len(line.fields) == len(columns) and line.fields[-1] in ends
        if not line.text.strip():
            sentences.append([])
        elif line.fields[0] == "-DOCSTART-":
            num_documents += 1
            sentences.append([])
        elif line.text.startswith("#") and (has_ids or not is_like_others):
            continue
        elif has_ids and re.fullmatch(r"\d+[-.]\d+", line.fields[0]):
            num_composed += 1
        else:
            sentences[-1].append(line)
    found = [sentence for sentence in sentences if sentence]
    if not found:
        raise DataError(f"{name} has no sentence in it.")
    notes = []
    if num_documents:
        notes.append(f"{name}: -DOCSTART- lines skipped: {num_documents}.")
    if num_composed:
        notes.append(f"{name}: multi-word tokens and empty nodes skipped: {num_composed}.")
    return found, notes


def _fault(sentence: list[_Line], columns: list[str], fault_encoding: str | None) -> str | None:
    """Return why a sentence cannot be used, or `None` if it can."""
    for line in sentence:
        fault = fault_in(line.text, fault_encoding) if fault_encoding else None
        if fault:
            return f"{fault} in line {line.number}"
        if len(line.fields) != len(columns):
            have = "1 column" if len(line.fields) == 1 else f"{len(line.fields)} columns"
            return f"line {line.number} has {have}, not {len(columns)}"
    return None
