"""Read rows of any form but the labelled one into a data set."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from inlay.data.finding import Found
from inlay.data.forms.base import AbstractForm, Place
from inlay.data.forms.registry import match
from inlay.data.rows import SPLITS, Dataset, Example, FileRecord, Rejected
from inlay.data.splits import complete_splits, count_leaks, describe_leaks, drop_unseen
from inlay.data.table import Table
from inlay.errors import DataError


def read_rows(
    found: Found, form: AbstractForm, columns: Mapping[str, str]
) -> tuple[dict[str, list[Example]], list[Rejected], list[FileRecord], list[str]]:
    """Return the usable rows of each split, the rejected rows, a record of each file, and notes.

    Args:
        found: The tables.
        form: Their form.
        columns: Role -> column, as far as they were named.

    Raises:
        DataError: If a table lacks a column.
    """
    splits: dict[str, list[Example]] = {}
    rejected: list[Rejected] = []
    files: list[FileRecord] = []
    counts: Counter[str] = Counter()
    for split in [name for name in SPLITS if name in found.tables]:
        for table in found.tables[split]:
            used, refused = read_table_rows(table, form, columns, counts)
            splits.setdefault(split, []).extend(used)
            rejected += refused
            files.append(
                FileRecord(
                    path=table.path, sha256=table.sha256,
                    rows_read=len(table.rows) + len(table.rejected), rows_used=len(used),
                    rows_rejected=len(refused), encoding=table.encoding,
                    separator=table.separator,
                )
            )  # fmt: skip
    tables = [table for split in found.tables.values() for table in split]
    notes = [*found.notes, *(note for table in tables for note in table.notes)]
    notes += [f"{number} x {what}." for what, number in counts.items()]
    return splits, rejected, files, notes


def read_table_rows(
    table: Table,
    form: AbstractForm,
    columns: Mapping[str, str],
    counts: Counter[str],
    *,
    has_target: bool = True,
) -> tuple[list[Example], list[Rejected]]:
    """Return a table's usable rows, and all its rejected ones in file order.

    Args:
        table: The rows as they were read.
        form: Their form.
        columns: Role -> column, as far as they were named.
        counts: Takes a count of what was mended.
        has_target: Whether the rows hold what is to be learnt.

    Raises:
        DataError: If a column is not there.
    """
    roles = match(form, table, columns)
    needed = [r.name for r in form.roles if r.is_needed and (has_target or not r.is_target)]
    absent = [name for name in needed if name not in roles]
    if absent:
        raise DataError(
            f"{table.name} has no column for {', '.join(absent)}. It has: "
            f"{', '.join(table.columns)}. Name it with --column {absent[0]}=NAME."
        )
    places = [(role, table.columns.index(column)) for role, column in roles.items()]
    examples: list[Example] = []
    rejected = list(table.rejected)
    for index, row in enumerate(table.rows):
        cells: dict[str, Any] = {role: row[at] for role, at in places}
        file = table.row_files[index] if table.row_files else table.name
        place = Place(file, table.lines[index])
        made = form.example(cells, place, counts, has_target=has_target)
        if isinstance(made, str):
            rejected.append(Rejected(file, table.lines[index], made, table.raw(index)))
        else:
            examples.append(made)
    rejected.sort(key=lambda refused: refused.line)
    return examples, rejected


def build_dataset(
    found: Found,
    form: AbstractForm,
    read: tuple[dict[str, list[Example]], list[Rejected], list[FileRecord], list[str]],
    columns: Mapping[str, str],
    *,
    split_seed: int,
    drop_unseen_labels: bool,
) -> Dataset:
    """Return a data set with all three splits.

    Args:
        found: The tables.
        form: Their form.
        read: What `read_rows` gave.
        columns: Role -> column, as far as they were named.
        split_seed: Draws the splits that are made here.
        drop_unseen_labels: Whether to drop rows of classes that train does not have.

    Raises:
        DataError: If a class occurs in another split only, or there are too few rows to split.
    """
    splits, rejected, files, notes = read
    splits, dropped, drop_notes = drop_unseen(
        splits, drops=drop_unseen_labels, classes=form.classes
    )
    has_all = all(splits.get(split) for split in SPLITS)
    splits, split_notes = complete_splits(
        splits, seed=split_seed, group=form.group, stratum=form.stratum
    )
    leaks = count_leaks(splits)
    roles: dict[str, str | None] = {role.name: None for role in form.roles}
    return Dataset(
        name=found.name,
        splits=splits,
        labels=sorted({label for row in splits["train"] for label in form.classes(row)}),
        columns={**roles, **match(form, found.first, columns)},
        files=files,
        rejected=rejected,
        notes=[*notes, *drop_notes, *split_notes, *describe_leaks(leaks)],
        made_splits=not has_all,
        split_seed=split_seed,
        dropped_unseen=dropped,
        leaked=leaks,
        form=form.name,
    )
