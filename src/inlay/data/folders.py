"""Which files of a folder hold which split, and folders with one folder of texts per class."""

import hashlib
import re
from pathlib import Path

from inlay.data.conll import CONLL_ENDINGS
from inlay.data.decoding import read_text
from inlay.data.rows import Rejected
from inlay.data.table import Table
from inlay.errors import DataError

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", *CONLL_ENDINGS)
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_SPLIT_STEM = re.compile(
    rf"(?:.*[-_. ])?({'|'.join(_SPLIT_NAMES)})(?:-\d+-of-\d+|[-_]v\d+(?:\.\d+)*)?", re.IGNORECASE
)


def split_of(stem: str) -> str | None:
    """Return the split that a file's or folder's name stands for.

    Example:
        >>> split_of("reviews-dev"), split_of("train-00000-of-00002"), split_of("dev-v2.0")
        ('validation', 'train', 'validation')
    """
    found = _SPLIT_STEM.fullmatch(stem)
    return _SPLIT_NAMES[found[1].lower()] if found else None


def table_ending(path: Path) -> str | None:
    """Return the ending of a file that holds a table, `.gz` left out, or `None`."""
    name = path.name.lower().removesuffix(".gz")
    return next((ending for ending in TABLE_ENDINGS if name.endswith(ending)), None)


def stem_of(path: Path) -> str:
    """Return a file's name without its ending and without `.gz`."""
    ending = table_ending(path)
    name = path.name.removesuffix(".gz").removesuffix(".GZ")
    return name[: -len(ending)] if ending else path.stem


def is_text_file(path: Path) -> bool:
    """Tell whether a file holds running text, by its ending."""
    return path.name.lower().removesuffix(".gz").endswith(".txt")


def find_text_files(folder: Path) -> dict[str, list[Path]]:
    """Return the text files of each split: `train.txt`, `validation.txt.gz`.

    Args:
        folder: The folder; without a file for train there are none.
    """
    splits: dict[str, list[Path]] = {}
    for path in sorted(item for item in folder.iterdir() if item.is_file() and is_text_file(item)):
        stem = path.name.lower().removesuffix(".gz").removesuffix(".txt")
        split = split_of(stem)
        if split:
            splits.setdefault(split, []).append(path)
    return splits if "train" in splits else {}


def find_split_files(folder: Path, *, needs_train: bool = True) -> dict[str, list[Path]]:
    """Return the files of each split in a folder, an empty dictionary if it has no table.

    Args:
        folder: The folder; a single file in it that names no split is all rows ("train").
        needs_train: Whether files without one for train are refused.

    Raises:
        DataError: If two files claim one split, or files are there but no train split.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and table_ending(path))
    files = [path for path in files if not path.name.startswith((".", "_"))]
    if not files:
        return {}
    splits: dict[str, list[Path]] = {}
    for path in files:
        split = split_of(stem_of(path))
        if split:
            splits.setdefault(split, []).append(path)
    if not splits and len(files) == 1:
        return {"train": files}
    if "train" not in splits and (needs_train or not splits):
        raise DataError(
            f"{folder.name} has no train split. It has: {_list(files)}. Name the files train, "
            "validation and test, or give one of them."
        )
    for split, paths in splits.items():
        shards = [path for path in paths if "-of-" in path.name]
        if len(paths) > 1 and len(shards) < len(paths):
            raise DataError(
                f"{folder.name} has {len(paths)} files for {split}: {_list(paths)}. Keep one."
            )
    return splits


def find_class_folders(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the class folders of each split, an empty dictionary if there are none.

    Args:
        folder: Holds one folder of .txt files per class, or such folders beneath train, test ...

    Raises:
        DataError: If there are class folders beneath test but none beneath train.
    """
    inner = _folders(folder)
    by_split = {split_of(path.name): path for path in inner if split_of(path.name)}
    splits = {split: _class_folders(path) for split, path in by_split.items() if split}
    splits = {split: classes for split, classes in splits.items() if classes}
    if splits:
        if "train" not in splits:
            raise DataError(f"{folder.name} has no train split: it has {_list(inner)}.")
        return splits
    classes = _class_folders(folder)
    return {"train": classes} if classes else {}


def read_class_folder(folder: Path, *, label: str, root: Path) -> Table:
    """Read a folder of .txt files as rows of one class.

    Args:
        folder: The folder of the class.
        label: The class.
        root: What the names of files are relative to.
    """
    digest = hashlib.sha256()
    rows: list[list[str]] = []
    names: list[str] = []
    rejected: list[Rejected] = []
    has_faults = False
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    texts = [path for path in paths if path.name.lower().endswith((".txt", ".txt.gz"))]
    for path in texts:
        name = path.relative_to(root).as_posix()
        try:
            decoded = read_text(path, name=name)
        except DataError as error:
            digest.update(f"{path.name}\0unreadable\0".encode("utf-8", "surrogateescape"))
            reason = "text is empty" if "is empty" in str(error) else str(error).rstrip(".")
            rejected.append(Rejected(name, 1, reason, ""))
            continue
        digest.update(f"{path.name}\0{decoded.sha256}\0".encode("utf-8", "surrogateescape"))
        has_faults = has_faults or decoded.has_faults
        rows.append([decoded.text, label])
        names.append(name)
    others = len(paths) - len(texts)
    where = folder.relative_to(root).as_posix()
    return Table(
        name=where,
        path=str(folder),
        layout="txt",
        sha256=digest.hexdigest(),
        encoding="utf-8",
        separator=None,
        columns=["text", "label"],
        rows=rows,
        lines=[1] * len(rows),
        raw=lambda index: rows[index][0].encode("utf-8", "backslashreplace").decode(),
        rejected=rejected,
        notes=[f"{where}: files that are no .txt left out: {others}."] if others else [],
        has_faults=has_faults,
        row_files=names,
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
    )


def _class_folders(folder: Path) -> dict[str, Path]:
    return {
        path.name: path
        for path in _folders(folder)
        if any(item.name.lower().endswith((".txt", ".txt.gz")) for item in path.iterdir())
    }


def _list(paths: list[Path]) -> str:
    names = [path.name for path in paths[:8]]
    return ", ".join(names) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")
