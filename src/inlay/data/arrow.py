"""Parquet files, and data sets written by the `datasets` library."""

import hashlib
import json
from pathlib import Path
from typing import Any

from inlay.data.table import Table
from inlay.errors import DataError
from inlay.optional import require


def read_parquet(path: Path, *, name: str) -> Table:
    """Read a Parquet file; the line of a row is its number, counted from 1.

    Args:
        path: The file.
        name: What to call it in messages and row ids.

    Raises:
        DataError: If it is damaged, is no Parquet, or has no rows.
        MissingExtraError: If pyarrow is not installed.
    """
    arrow = require("pyarrow", extra="data", purpose="Reading Parquet")
    parquet = require("pyarrow.parquet", extra="data", purpose="Reading Parquet")
    try:
        data = path.read_bytes()
        content = parquet.read_table(arrow.BufferReader(data))
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{name} cannot be read as Parquet: {_first_line(error)}.") from error
    return arrow_to_table(
        content,
        name=name,
        path=str(path),
        sha256=hashlib.sha256(data).hexdigest(),
        class_names=_stored_class_names(content.schema.metadata or {}),
    )


def read_datasets_folder(folder: Path) -> dict[str, Table]:
    """Read a folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`.

    Args:
        folder: The folder.

    Returns:
        From the split's name to its rows; one data set without splits is "train".

    Raises:
        DataError: If the folder is damaged.
        MissingExtraError: If `datasets` is not installed.
    """
    datasets = require("datasets", extra="data", purpose=f"Reading {folder.name} (saved datasets)")
    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise DataError(
            f"{folder.name} cannot be read as a saved datasets folder: {_first_line(error)}."
        ) from error
    return loaded_to_tables(loaded, path=str(folder))


def loaded_to_tables(loaded: Any, *, path: str) -> dict[str, Table]:
    """Return the rows of a loaded `Dataset` or `DatasetDict`, by split.

    Args:
        loaded: What the `datasets` library returned.
        path: Where it came from, for the record.
    """
    splits = loaded if hasattr(loaded, "keys") else {"train": loaded}
    tables = {}
    for split, rows in splits.items():
        inner = {
            column: getattr(feature, "feature", feature)
            for column, feature in rows.features.items()
        }
        names = {
            column: list(feature.names)
            for column, feature in inner.items()
            if hasattr(feature, "names")
        }
        content = rows.with_format("arrow")[:]
        tables[split] = arrow_to_table(
            content,
            name=split,
            path=f"{path}/{split}",
            sha256=_hash_rows(content),
            class_names=names,
        )
    return tables


def arrow_to_table(
    content: Any, *, name: str, path: str, sha256: str, class_names: dict[str, list[str]]
) -> Table:
    """Return the columns of an Arrow table as rows, those of bytes left out.

    Args:
        content: The Arrow table.
        name: What to call it in messages and row ids.
        path: Where it came from.
        sha256: Of its bytes.
        class_names: For a column of class indices, or of lists of them, the names of the classes;
            in lists they are put in place of the indices.

    Raises:
        DataError: If there is no row, or a column's name appears twice.
    """
    if not content.num_rows:
        raise DataError(f"{name} has no rows.")
    repeated = [column for column in content.column_names if content.column_names.count(column) > 1]
    if repeated:
        raise DataError(f'{name} has two columns "{repeated[0]}". Rename one of them.')
    types = require("pyarrow.types", extra="data", purpose="Reading Parquet")
    kept: list[str] = []
    hidden: list[str] = []
    for column in content.schema:
        (hidden if _holds_bytes(column.type, types) else kept).append(column.name)
    cells = [content.column(column).to_pylist() for column in kept]
    lists = {column.name for column in content.schema if _is_list(column.type, types)}
    for index, column in enumerate(kept):
        if column in lists and column in class_names:
            cells[index] = [_named(own, class_names[column]) for own in cells[index]]
    class_names = {column: own for column, own in class_names.items() if column not in lists}
    notes = [f"{name}: columns left out (bytes): {', '.join(hidden)}."] if hidden else []
    rows = [list(row) for row in zip(*cells, strict=True)]
    return Table(
        name=name,
        path=path,
        layout="parquet",
        sha256=sha256,
        encoding="parquet",
        separator=None,
        columns=kept,
        rows=rows,
        lines=range(1, len(rows) + 1),
        raw=lambda index: json.dumps(
            dict(zip(kept, rows[index], strict=True)), ensure_ascii=False, default=str
        ),
        notes=notes,
        has_faults=True,
        is_typed=True,
        class_names=class_names,
    )


def _holds_bytes(kind: Any, types: Any) -> bool:
    """Tell whether a column holds bytes, also inside of objects and lists."""
    if types.is_binary(kind) or types.is_large_binary(kind):
        return True
    fields = range(kind.num_fields) if types.is_nested(kind) else ()
    return any(_holds_bytes(kind.field(index).type, types) for index in fields)


def _is_list(kind: Any, types: Any) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _named(indices: Any, names: list[str]) -> Any:
    """Return a list of classes by name; what is no index of a class stays as it is."""
    if indices is None:
        return None
    return [
        names[index] if isinstance(index, int) and 0 <= index < len(names) else index
        for index in indices
    ]


def _stored_class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the class names that `datasets` writes into a Parquet file's metadata."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        inner = {
            column: feature.get("feature", feature) if isinstance(feature, dict) else feature
            for column, feature in features.items()
        }
        return {
            column: list(feature["names"])
            for column, feature in inner.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError):
        return {}


def _hash_rows(content: Any) -> str:
    """Hash the rows themselves: a loaded data set may come from several files, or from none."""
    digest = hashlib.sha256()
    for column in content.column_names:
        cells = json.dumps([column, content.column(column).to_pylist()], default=str)
        digest.update(cells.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
