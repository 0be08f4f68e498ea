"""From a file, a folder, a built-in name or a Hub name to a `Dataset`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from inlay.data.checking import check_rows, label_kinds
from inlay.data.columns import Roles, find_columns
from inlay.data.few_shot import take_few
from inlay.data.finding import Found, find_tables
from inlay.data.formed import build_dataset, read_rows
from inlay.data.forms.registry import ASKS_NEW_LABELS, choose_form, task_name
from inlay.data.inputs import read_inputs
from inlay.data.joint import read_joint
from inlay.data.labels import apply_label_map, check_classes, merge_numbers
from inlay.data.rows import SPLITS, Dataset, Example, FileRecord, Rejected
from inlay.data.splits import classes_of, complete_splits, count_leaks, describe_leaks, drop_unseen
from inlay.errors import DataError, counted

__all__ = ["parse_fraction", "read_dataset", "read_inputs"]


def read_dataset(
    source: str | Path,
    *,
    task: str | None = None,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[str, str] | None = None,
    max_rejected: float = 0.01,
    split_seed: int = 42,
    drop_unseen_labels: bool = False,
    few_shot: int | None = None,
) -> Dataset:
    """Read rows of any form, and make the splits that are missing.

    Args:
        source: A CSV, TSV, JSONL, Parquet or CoNLL file (text also gzipped), a folder with a file
            for each split or a folder for each class, a saved `datasets` folder, the name of a
            built-in data set, or a name on the Hub.
        task: What the rows are for; told from the columns if `None`.
        text_column: Where the texts are; guessed if `None`.
        pair_column: Where the second texts of pairs are; guessed if `None`.
        label_column: Where the labels are; guessed if `None`.
        columns: Role -> column, for the roles of other forms: `{"tokens": "words"}`.
        label_map: Labels to rename, from the name in the file to the name wanted.
        max_rejected: The fraction of rows, in [0, 1], that may be unusable.
        split_seed: Draws the splits that are made here.
        drop_unseen_labels: Whether to drop validation and test rows of classes train does not
            have, rather than refuse them.
        few_shot: Rows for each class that are kept of train and of validation; all if `None`.

    Raises:
        DataError: If the rows cannot be used; the message says why and what to do.
        MissingExtraError: If the format needs a package that is not installed.
    """
    if task is not None and task_name(task) == "joint":
        return read_joint(Path(source), read_dataset, split_seed=split_seed, few_shot=few_shot)
    found = find_tables(source)
    given = named_columns(columns, text=text_column, pair=pair_column, label=label_column)
    form = choose_form(found.first, task=task, columns=given, is_labelled=is_labelled(given))
    if form is not None:
        if label_map:
            raise DataError(f"labels are renamed in labelled texts only, not in {form.name} rows.")
        read = read_rows(found, form, given)
        refuse_many_rejected(found.title, read[1], read[2], max_rejected=max_rejected)
        dataset = build_dataset(
            found, form, read, given, split_seed=split_seed, drop_unseen_labels=drop_unseen_labels
        )
    else:
        dataset = _labelled_dataset(
            found, labelled_roles(found, given), label_map or {}, max_rejected=max_rejected,
            split_seed=split_seed, drop_unseen_labels=drop_unseen_labels,
            keeps_unseen=task is not None and task_name(task) in ASKS_NEW_LABELS,
        )  # fmt: skip
    dataset.notes[:0] = rejection_notes(dataset.rejected, dataset.files)
    if few_shot is not None:
        take_few(dataset, few_shot, form.classes if form else classes_of, seed=split_seed)
    return dataset


def _labelled_dataset(
    found: Found,
    roles: Roles,
    label_map: Mapping[str, str],
    *,
    max_rejected: float,
    split_seed: int,
    drop_unseen_labels: bool,
    keeps_unseen: bool,
) -> Dataset:
    """Return texts with one label each, in all three splits."""
    splits, rejected, files = read_examples(found, roles)
    refuse_many_rejected(found.title, rejected, files, max_rejected=max_rejected)
    splits, notes = settle_labels(found, roles, splits, label_map)
    check_classes(Counter(row.label for row in splits["train"]), name=found.title)
    dropped, drop_notes = 0, list[str]()
    if drop_unseen_labels or not keeps_unseen:
        splits, dropped, drop_notes = drop_unseen(splits, drops=drop_unseen_labels)
    has_all = all(splits.get(split) for split in SPLITS)
    splits, split_notes = complete_splits(splits, seed=split_seed)
    leaks = count_leaks(splits)
    return Dataset(
        name=found.name,
        splits=splits,
        labels=sorted({row.label for row in splits["train"]}),
        columns={"text": roles.text, "pair": roles.pair, "label": roles.label},
        files=files,
        rejected=rejected,
        notes=[*notes, *drop_notes, *split_notes, *describe_leaks(leaks)],
        made_splits=not has_all,
        label_map=dict(label_map),
        split_seed=split_seed,
        dropped_unseen=dropped,
        leaked=leaks,
    )


def named_columns(columns: Mapping[str, str] | None, **own: str | None) -> dict[str, str]:
    """Return role -> column from the general mapping and the options of single roles.

    Raises:
        DataError: If a role is given twice.
    """
    given = dict(columns or {})
    for role, column in own.items():
        if column is None:
            continue
        if given.setdefault(role, column) != column:
            raise DataError(f'the column for "{role}" is given twice: {given[role]} and {column}.')
    return given


def is_labelled(given: Mapping[str, str]) -> bool:
    """Tell whether the columns that were named are those of a text with a label."""
    return "label" in given and "text" in given


def labelled_roles(found: Found, given: Mapping[str, str]) -> Roles:
    """Return the columns of labelled texts.

    Raises:
        DataError: If a role is named that they do not have, or a column is not there.
    """
    unknown = [role for role in given if role not in ("text", "pair", "label")]
    if unknown:
        raise DataError(
            f"--column {unknown[0]}={given[unknown[0]]}: labelled texts have text, pair, label."
        )
    return find_columns(
        found.first, text_column=given.get("text"), pair_column=given.get("pair"),
        label_column=given.get("label"),
    )  # fmt: skip


def parse_fraction(text: str) -> float:
    """Return a fraction written as "5%", "5 %" or "0.05".

    Args:
        text: What was written.

    Raises:
        DataError: If it is neither, or does not lie in [0, 1].
    """
    number = text.strip().removesuffix("%").strip()
    try:
        value = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError as error:
        raise DataError(f'"{text}" is not a fraction; write 5% or 0.05.') from error
    if not 0 <= value <= 1:
        raise DataError(f'"{text}" is not a fraction between 0 and 1; write 5% or 0.05.')
    return value


def read_examples(
    found: Found, roles: Roles
) -> tuple[dict[str, list[Example]], list[Rejected], list[FileRecord]]:
    """Return the usable rows of each split, the rejected rows, and a record of each file.

    Args:
        found: The tables.
        roles: The columns, as found in the first table; the others must have them too.

    Raises:
        DataError: If a table lacks a column.
    """
    splits: dict[str, list[Example]] = {}
    rejected: list[Rejected] = []
    files: list[FileRecord] = []
    for split in [name for name in SPLITS if name in found.tables]:
        for table in found.tables[split]:
            find_columns(
                table, text_column=roles.text, pair_column=roles.pair, label_column=roles.label
            )
            used, refused = check_rows(table, roles)
            splits.setdefault(split, []).extend(used)
            rejected += refused
            files.append(
                FileRecord(
                    path=table.path,
                    sha256=table.sha256,
                    rows_read=len(table.rows) + len(table.rejected),
                    rows_used=len(used),
                    rows_rejected=len(refused),
                    encoding=table.encoding,
                    separator=table.separator,
                )
            )
    return splits, rejected, files


def refuse_many_rejected(
    title: str, rejected: list[Rejected], files: list[FileRecord], *, max_rejected: float
) -> None:
    """Stop when more rows than allowed cannot be used.

    Args:
        title: The source, for the message.
        rejected: The rows that cannot be used.
        files: What was read.
        max_rejected: The fraction allowed, in [0, 1].

    Raises:
        DataError: If it is exceeded, or lies outside [0, 1], or no row is left.
    """
    if not 0 <= max_rejected <= 1:
        raise DataError(f"max_rejected={max_rejected}: a fraction between 0 and 1 is needed.")
    total = sum(record.rows_read for record in files)
    first = _first_of(rejected, files)
    if len(rejected) == total:
        raise DataError(f"{title}: none of its {total} rows can be used. First: {first}.")
    if len(rejected) <= max_rejected * total:
        return
    share = 100 * len(rejected) / total
    needed = next(percent for percent in range(1, 101) if percent >= share)
    not_utf8 = sum(row.reason.startswith("not valid utf-8") for row in rejected)
    advice = "Save the file as UTF-8" if 2 * not_utf8 > len(rejected) else "Correct them"
    raise DataError(
        f"{title}: {len(rejected)} of {total} rows cannot be used ({share:.1f} %), more than the "
        f"{100 * max_rejected:g} % allowed. First: {first}. {advice}, or allow more with "
        f"--max-rejected {needed}%"
    )


def rejection_notes(rejected: Sequence[Rejected], files: Sequence[FileRecord]) -> list[str]:
    """Return a sentence on the rows that were left out, none if all could be used."""
    if not rejected:
        return []
    more = f"; and {len(rejected) - 3} more" if len(rejected) > 3 else ""
    return [f"{counted(len(rejected), 'row')} left out: {_first_of(rejected, files)}{more}."]


def _first_of(rejected: Sequence[Rejected], files: Sequence[FileRecord]) -> str:
    one_file = len(files) == 1
    return "; ".join(
        f"{'' if one_file else row.file + ' '}line {row.line}: {row.reason}" for row in rejected[:3]
    )


def settle_labels(
    found: Found,
    roles: Roles,
    splits: dict[str, list[Example]],
    label_map: Mapping[str, str],
) -> tuple[dict[str, list[Example]], list[str]]:
    """Give each label its final name, and tell what was changed.

    Args:
        found: The tables, for their notes and kinds of labels.
        roles: The columns.
        splits: The usable rows.
        label_map: Labels to rename.

    Raises:
        DataError: If the labels are no classes, or a label to rename is in no row.
    """
    tables = [table for split in found.tables.values() for table in split]
    notes = [*found.notes, *(note for table in tables for note in table.notes)]
    label_column = roles.label or "label"
    counts = Counter(row.label for rows in splits.values() for row in rows)
    merged = merge_numbers(counts, column=label_column, num_rows=counts.total())
    if merged:
        notes.append(f"labels are whole numbers, written without a point: {_few(merged)}.")
        counts = Counter(
            merged.get(row.label, row.label) for rows in splits.values() for row in rows
        )
    kinds = {
        kind for table in tables if table.is_typed for kind in label_kinds(table, label_column)
    }
    if len(kinds) > 1:
        notes.append(
            f'column "{label_column}" mixes {" and ".join(sorted(kinds))}: all are read as names '
            "of classes."
        )
    mapped, map_notes = apply_label_map(counts, label_map)
    renamed = {
        old: mapped.get(merged.get(old, old), merged.get(old, old))
        for old in {row.label for rows in splits.values() for row in rows}
    }
    if any(old != new for old, new in renamed.items()):
        splits = {
            split: [row._replace(label=renamed[row.label]) for row in rows]
            for split, rows in splits.items()
        }
    return splits, notes + map_notes


def _few(renamed: Mapping[str, str]) -> str:
    shown = [f'"{old}" is "{new}"' for old, new in sorted(renamed.items())[:3]]
    return ", ".join(shown) + (" ..." if len(renamed) > 3 else "")
