"""From files and folders of plain text to documents to learn from and documents held out."""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from inlay.data.decoding import fault_in, read_text
from inlay.data.finding import read_table
from inlay.data.folders import split_of, stem_of, table_ending
from inlay.data.table import Table
from inlay.errors import DataError, did_you_mean

DOCUMENTS = ("paragraph", "line", "file")
"""What a document of a `.txt` file is: what stands between blank lines, a line, or all of it."""

_HELD_OUT = 20
"""One document of so many is held out where no validation text is given."""

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusFile:
    """What was read from one file.

    Attributes:
        path: The file as it was found.
        sha256: Of the bytes on disk.
        split: `train` or `held_out`.
        documents: How many it holds.
    """

    path: str
    sha256: str
    split: str
    documents: int


@final
@dataclass(kw_only=True, slots=True)
class Corpus:
    """Plain text in documents.

    Attributes:
        name: The first file's stem or folder's name.
        train: Documents to learn from.
        held_out: Documents to measure on; none of them is in `train` if they were made here.
        files: One record for each file.
        notes: What was decided, in sentences.
    """

    name: str
    train: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    files: list[CorpusFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_corpus(
    sources: Sequence[str | Path],
    *,
    documents: str = "paragraph",
    text_columns: Sequence[str] = (),
    split_seed: int = 42,
) -> Corpus:
    """Read the text of files and folders, and hold out a part of each that brings none.

    Args:
        sources: `.txt` files, tables with columns of text (CSV, TSV, JSONL, also `.gz`; Parquet),
            or folders of such files. In a folder, files named validation, else test, are held
            out; if one is named train, only that is learnt from, else all others are.
        documents: What a document of a `.txt` file is: `paragraph`, `line` or `file`.
        text_columns: Columns of the tables that are read; all that hold text if none is named.
        split_seed: Draws the documents that are held out.

    Raises:
        DataError: If a file is not there, is no text, or there is no text in it.
    """
    if not sources:
        raise DataError("no corpus: give text files or folders of them.")
    paths = [Path(source).expanduser() for source in sources]
    corpus = Corpus(name=stem_of(paths[0]) if paths[0].is_file() else paths[0].name)
    for path in paths:
        train_files, held_out_files = _files(path, corpus.notes)
        read = [
            _read(files, split, corpus, documents=documents, text_columns=text_columns)
            for split, files in (("train", train_files), ("held_out", held_out_files))
        ]
        train, held_out = read
        if not train:
            raise DataError(f"{path} holds no text to learn from; all its documents are empty.")
        if not held_out:
            train, held_out, how = hold_out(train, seed=split_seed)
            corpus.notes.append(f"{path.name}: held out {how}, seed {split_seed}")
        else:
            _note_leaks(path.name, train, held_out, corpus.notes)
        corpus.train += train
        corpus.held_out += held_out
    return corpus


def hold_out(train: list[str], *, seed: int) -> tuple[list[str], list[str], str]:
    """Split documents into those to learn from and those to measure on.

    Equal documents stay on one side. Of few documents, the end of each is held out instead.

    Args:
        train: All documents.
        seed: Draws them.

    Returns:
        Documents to learn from, documents held out, and in words what was held out.
    """
    unique = list(dict.fromkeys(train))
    number = len(unique) // _HELD_OUT
    if number == 0:
        cuts = [_cut(document) for document in train]
        pairs = [
            (document[:cut], document[cut:]) for document, cut in zip(train, cuts, strict=True)
        ]
        parts = [[part for pair in pairs if (part := pair[side].strip())] for side in (0, 1)]
        return parts[0], parts[1], "the last twentieth of each document"
    chosen = set(random.Random(seed).sample(unique, number))
    rest = [document for document in train if document not in chosen]
    kept = [document for document in unique if document in chosen]
    return rest, kept, f"{number} of {len(unique)} different documents"


def split_documents(text: str, how: str) -> list[str]:
    """Split a text into documents without blanks around them; empty ones are left out.

    Args:
        text: A file's content.
        how: `paragraph`, `line` or `file`.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if how == "file":
        parts = [text]
    elif how == "line":
        parts = text.split("\n")
    else:
        parts = _BLANK_LINES.split(text)
    return [stripped for part in parts if (stripped := part.strip())]


def _cut(document: str) -> int:
    """Return where the last twentieth begins, at the start of a word."""
    wanted = len(document) - max(1, len(document) // _HELD_OUT)
    blank = max(document.rfind(" ", 0, wanted), document.rfind("\n", 0, wanted))
    return blank + 1 if blank > 0 else wanted


def _files(path: Path, notes: list[str]) -> tuple[list[Path], list[Path]]:
    """Return the files to learn from and those held out."""
    if path.is_file():
        if not _is_text(path) and not table_ending(path):
            raise DataError(
                f"{path.name} has an ending that is not known. Text is read from .txt, .csv, .tsv "
                "and .jsonl (also .gz), from .parquet, or from a folder of them."
            )
        return [path], []
    if not path.is_dir():
        known = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file or folder.{did_you_mean(path.name, known)}")
    inside = [item for item in sorted(path.rglob("*")) if item.is_file()]
    files = [
        item
        for item in inside
        if (_is_text(item) or table_ending(item))
        and not any(part.startswith((".", "_")) for part in item.relative_to(path).parts)
    ]
    by_split: dict[str | None, list[Path]] = {}
    for item in files:
        by_split.setdefault(split_of(_stem(item)), []).append(item)
    train = by_split.get("train") or by_split.get(None, [])
    held_out = by_split.get("validation") or by_split.get("test", [])
    if not train:
        raise DataError(
            f"{path} holds no text to learn from. A folder needs .txt, .csv, .tsv, .jsonl (also "
            ".gz) or .parquet files that are not all named validation or test."
        )
    spare = [item.name for item in files if item not in train and item not in held_out]
    if spare:
        notes.append(f"{path.name}: files left out: {', '.join(spare[:8])}")
    return train, held_out


def _is_text(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".txt")


def _stem(path: Path) -> str:
    return re.sub(r"\.txt(\.gz)?$", "", path.name, flags=re.IGNORECASE) if _is_text(path) else (
        stem_of(path)
    )  # fmt: skip


def _read(
    files: Iterable[Path],
    split: str,
    corpus: Corpus,
    *,
    documents: str,
    text_columns: Sequence[str],
) -> list[str]:
    """Read the documents of a split's files and keep a record of each file."""
    found: list[str] = []
    for path in files:
        if _is_text(path):
            decoded = read_text(path, name=path.name)
            if decoded.has_faults:
                raise DataError(_fault(path.name, decoded.text, decoded.encoding))
            texts, sha256 = split_documents(decoded.text, documents), decoded.sha256
        else:
            table = read_table(path, path.name)
            texts, sha256 = _cells(table, text_columns, corpus.notes), table.sha256
        corpus.files.append(
            CorpusFile(path=str(path), sha256=sha256, split=split, documents=len(texts))
        )
        found += texts
    return found


def _fault(name: str, text: str, encoding: str) -> str:
    """Word the first byte of a file that is no text."""
    faults = (
        f"{name} line {number}: {fault}. Save the file as UTF-8, or take that line out."
        for number, line in enumerate(text.split("\n"), start=1)
        if (fault := fault_in(line, encoding)) is not None
    )
    return next(faults)


def _cells(table: Table, wanted: Sequence[str], notes: list[str]) -> list[str]:
    """Return the texts of a table, row by row, each cell a document."""
    unknown = [name for name in wanted if name not in table.columns]
    if unknown:
        raise DataError(
            f"{table.name} has no column {unknown[0]!r}. It has: {', '.join(table.columns)}."
            f"{did_you_mean(unknown[0], table.columns)}"
        )
    if table.rejected:
        first = table.rejected[0]
        notes.append(
            f"{table.name}: {len(table.rejected)} lines that are no rows left out; first: line "
            f"{first.line}: {first.reason}"
        )
    columns = list(wanted) or [name for name in table.columns if _is_text_column(table, name)]
    places = [table.columns.index(name) for name in columns]
    cells = [row[place] for row in table.rows for place in places]
    texts = [cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()]
    faults = [fault for text in texts if table.has_faults and (fault := fault_in(text, "utf-8"))]
    if faults:
        raise DataError(f"{table.name}: a cell is {faults[0]}. Save the file as UTF-8.")
    if not wanted:
        notes.append(f"{table.name}: columns of text: {', '.join(columns) or 'none'}")
    return texts


def _is_text_column(table: Table, name: str) -> bool:
    """Tell whether a column holds texts of more than one word, rather than names or numbers."""
    cells = [cell for cell in table.column(name) if isinstance(cell, str)]
    return 2 * sum(" " in cell.strip() or not cell.isascii() for cell in cells) > len(cells)


def _note_leaks(name: str, train: list[str], held_out: list[str], notes: list[str]) -> None:
    known = set(train)
    leaked = sum(document in known for document in held_out)
    if leaked:
        notes.append(
            f"{name}: {leaked} of {len(held_out)} held-out documents stand in the training text too"
        )
