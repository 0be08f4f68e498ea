"""From what the user named to its tables: one file, a folder, a built-in name or a Hub name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from inlay.data.conll import CONLL_ENDINGS, has_columns, read_conll
from inlay.data.folders import (
    TABLE_ENDINGS,
    find_class_folders,
    find_split_files,
    find_text_files,
    is_text_file,
    read_class_folder,
    stem_of,
    table_ending,
)
from inlay.data.hub import find_builtin, is_hub_name, list_builtin, read_hub
from inlay.data.passages import read_passages
from inlay.data.rows import SPLITS
from inlay.data.table import Table
from inlay.errors import DataError, counted, did_you_mean

_SPLIT_KEYS = {"valid": "validation", "dev": "validation", "val": "validation"}


@final
@dataclass(kw_only=True, slots=True)
class Found:
    """The tables of a source.

    Args:
        name: The file's stem, the folder's name, or the name asked for.
        title: What to call the source on a screen: "reviews.csv".
        tables: By split; a source without splits has only "train".
        notes: What was decided, in sentences.
    """

    name: str
    title: str
    tables: dict[str, list[Table]]
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> Table:
        """The first table of the first split, train if it is there: it tells the columns."""
        return next(self.tables[split][0] for split in SPLITS if split in self.tables)


def find_tables(source: str | Path, *, needs_train: bool = True) -> Found:
    """Read every table of a source.

    Args:
        source: A file, a folder, the name of a built-in data set, or a name on the Hub.
        needs_train: Whether split files without one for train are refused.

    Raises:
        DataError: If it is not there or holds no rows that can be read.
    """
    path = Path(source).expanduser()
    if path.is_file():
        name = path.name
        if is_text_file(path):
            name_only = stem_of(path).removesuffix(".txt")
            table = read_text_table(path, name)
            return Found(name=name_only, title=name, tables={"train": [table]})
        return Found(name=stem_of(path), title=name, tables={"train": [read_table(path, name)]})
    if path.is_dir():
        return _read_folder(path, needs_train=needs_train)
    builtin = find_builtin(str(source))
    if builtin:
        return _read_folder(builtin, needs_train=needs_train)
    if table_ending(path) or not is_hub_name(str(source)) or str(source).endswith(".txt"):
        raise DataError(_word_missing_path(path))
    return _sort_splits(str(source), str(source), read_hub(str(source)), needs_train=needs_train)


def read_table(path: Path, name: str) -> Table:
    """Read one file by its ending.

    Args:
        path: The file.
        name: What to call it in messages and row ids.

    Raises:
        DataError: If the ending is not known or the file cannot be read.
    """
    ending = table_ending(path)
    if ending in (".csv", ".tsv"):
        from inlay.data.separated import read_separated

        return read_separated(path, name=name)
    if ending in (".jsonl", ".ndjson", ".json"):
        from inlay.data.jsonlines import read_jsonlines
        from inlay.data.squad import read_squad

        squad = read_squad(path, name=name) if ending == ".json" else None
        return squad or read_jsonlines(path, name=name)
    if ending == ".parquet":
        from inlay.data.arrow import read_parquet

        return read_parquet(path, name=name)
    if ending in CONLL_ENDINGS:
        return read_conll(path, name=name)
    joint = " Several data sets that a YAML file names are learnt together by --task joint."
    is_joint = path.suffix.lower() in (".yaml", ".yml")
    raise DataError(
        f"{name} has an ending that is not known. Labelled rows are read from "
        f"{', '.join(TABLE_ENDINGS)} (also .gz), or from a folder.{joint * is_joint}"
    )


def read_text_table(path: Path, name: str) -> Table:
    """Read a text file as running text, or as tagged words if that is what its lines are.

    Args:
        path: The file.
        name: What to call it in messages and row ids.

    Raises:
        DataError: If the file cannot be read.
    """
    if not has_columns(path, name=name):
        return read_passages(path, name=name)
    table = read_conll(path, name=name)
    table.notes.append(f"{name}: lines of columns with tags, so it is read as CoNLL.")
    return table


def _read_folder(folder: Path, *, needs_train: bool) -> Found:
    folder = folder.resolve()
    if (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file():
        from inlay.data.arrow import read_datasets_folder

        loaded = read_datasets_folder(folder)
        return _sort_splits(folder.name, folder.name, loaded, needs_train=needs_train)
    files = find_split_files(folder, needs_train=needs_train)
    if files:
        tables = {
            split: [read_table(path, path.name) for path in paths] for split, paths in files.items()
        }
        notes = []
        used = {path for paths in files.values() for path in paths}
        spare = sorted(
            path.name for path in folder.iterdir() if table_ending(path) and path not in used
        )
        if spare:
            notes.append(f"files that name no split left out: {', '.join(spare)}.")
        return Found(name=folder.name, title=folder.name, tables=tables, notes=notes)
    texts = find_text_files(folder)
    if texts:
        tables = {
            split: [read_text_table(path, path.name) for path in paths]
            for split, paths in texts.items()
        }
        return Found(name=folder.name, title=folder.name, tables=tables)
    classes = find_class_folders(folder)
    if not classes:
        raise DataError(
            f"{folder.name} holds no data that can be read. A folder needs files named train, "
            "validation and test (CSV, TSV, JSONL, Parquet, CoNLL), or a folder of .txt files for "
            "each class."
        )
    tables = {
        split: [
            read_class_folder(path, label=label, root=folder)
            for label, path in sorted(by_class.items())
        ]
        for split, by_class in classes.items()
    }
    return Found(name=folder.name, title=folder.name, tables=tables)


def _sort_splits(name: str, title: str, loaded: Mapping[str, Table], *, needs_train: bool) -> Found:
    tables: dict[str, list[Table]] = {}
    notes = []
    for split, table in loaded.items():
        key = _SPLIT_KEYS.get(split, split)
        if key in ("train", "validation", "test"):
            tables.setdefault(key, []).append(table)
        else:
            notes.append(f'split "{split}" left out ({counted(len(table.rows), "row")}).')
    if "train" not in tables and (needs_train or not tables):
        raise DataError(f"{title} has no train split. It has: {', '.join(loaded)}.")
    return Found(name=name, title=title, tables=tables, notes=notes)


def _word_missing_path(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"{path}: no such file, and no folder {parent}."
    known = [item.name for item in parent.iterdir() if table_ending(item) or item.is_dir()]
    hint = did_you_mean(path.name, [*known, *list_builtin()])
    return f"{path}: no such file or folder.{hint}"
