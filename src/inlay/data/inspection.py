"""What a person wants to know of data before training: rows, labels, faults. Loads no model."""

import difflib
import gc
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from inlay.data.finding import Found, find_tables
from inlay.data.formed import read_rows
from inlay.data.forms.base import AbstractForm
from inlay.data.forms.registry import (
    ASKS_NEW_LABELS,
    LABELLED,
    choose_form,
    match,
    task_name,
    tasks_of,
)
from inlay.data.joint import FORM as JOINT
from inlay.data.labels import check_classes
from inlay.data.rows import Example, FileRecord, Rejected
from inlay.data.sources import (
    is_labelled,
    labelled_roles,
    named_columns,
    read_examples,
    settle_labels,
)
from inlay.data.splits import classes_of, complete_splits, count_leaks, drop_unseen
from inlay.errors import ConfigError, DataError

FEW_ROWS = 20
"""A label with fewer rows is hardly learnt."""

_TELLING_SHARE = 0.8
"""A label whose own name stands in this share of its texts may be leaking into them."""

_FEW_TEXTS = 1000
"""With fewer rows it is worth the time to see whether splits can be made of them."""

_TELLING_ROWS = 20_000
"""Rows that are looked at for that; more would tell nothing new."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """How long the texts of one column are, in words."""

    median: int
    longest: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate:
    """Two rows with equal texts, as an example."""

    first: str
    second: str
    text: str
    labels: tuple[str, str]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What was seen in a data set.

    Attributes:
        source: What was asked for.
        files: One record for each file; read = used + rejected in each.
        rejected: Every row that cannot be used, with line and reason.
        columns: Role -> column.
        lengths: Role -> lengths in words.
        splits: Split -> usable rows.
        labels: Label -> rows, the most frequent first.
        spellings: Labels that look like another one -> that one.
        duplicates: Rows whose text stands in an earlier row as well.
        conflicts: How many of these have another label there.
        example: One such pair; of conflicting rows if there are any.
        small: Labels with few rows -> rows.
        telling: Labels whose own name stands in nearly all of their texts and hardly elsewhere.
        ids: Columns in which every value is different, so that they are no label.
        leaks: Rows that another split has as well, by "split/other split".
        notes: What the readers decided.
        problem: Why training would refuse these rows, if it would.
        named: Role -> column, of those that were named rather than guessed.
        task: What the rows are for.
        asked_task: The task that was asked for, if one was.
        other_tasks: What else the rows are for, with a base of another kind.
    """

    source: str
    files: list[FileRecord]
    rejected: list[Rejected]
    columns: dict[str, str | None]
    lengths: dict[str, Lengths]
    splits: dict[str, int]
    labels: dict[str, int]
    spellings: dict[str, str]
    duplicates: int
    conflicts: int
    example: Duplicate | None
    small: dict[str, int]
    telling: list[str]
    ids: list[str]
    leaks: dict[str, int]
    notes: list[str] = field(default_factory=list)
    problem: str | None = None
    named: dict[str, str] = field(default_factory=dict)
    task: str = "text-classification"
    asked_task: str | None = None
    other_tasks: list[str] = field(default_factory=list)

    @property
    def num_read(self) -> int:
        """Rows read: used and rejected."""
        return sum(record.rows_read for record in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data; rejected rows without their raw text."""
        content = asdict(self)
        content["files"] = [asdict(record) for record in self.files]
        content["rejected"] = [
            {"file": row.file, "line": row.line, "reason": row.reason} for row in self.rejected
        ]
        return content


def inspect_dataset(
    source: str | Path,
    *,
    task: str | None = None,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[str, str] | None = None,
) -> Inspection:
    """Look at rows as `read_dataset` would read them, without making splits.

    Args:
        source: What `inlay.data.sources.read_dataset` reads.
        task: What the rows are for; told from the columns if `None`.
        text_column: Where the texts are; guessed if `None`.
        pair_column: Where the second texts of pairs are; guessed if `None`.
        label_column: Where the labels are; guessed if `None`.
        columns: Role -> column, for the roles of other forms.
        label_map: Labels to rename.

    Raises:
        DataError: If the source cannot be read at all, or has no usable row.
        ConfigError: If the task is none of one data set.
    """
    if task is not None and task_name(task) == JOINT:
        raise ConfigError(
            f"task {JOINT!r} reads a file that names several data sets. Inspect each of them: "
            "inlay inspect DATA."
        )
    with _without_collector():
        given = named_columns(columns, text=text_column, pair=pair_column, label=label_column)
        return _inspect(source, task, given, label_map or {})


@contextmanager
def _without_collector() -> Iterator[None]:
    """Switch garbage collection off: no row is part of a cycle, and it would visit each often."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _inspect(
    source: str | Path, task: str | None, given: Mapping[str, str], label_map: Mapping[str, str]
) -> Inspection:
    found = find_tables(source, needs_train=False)
    form = choose_form(found.first, task=task, columns=given, is_labelled=is_labelled(given))
    if form is None:
        roles = labelled_roles(found, given)
        splits, rejected, files = read_examples(found, roles)
        _refuse_none(found, splits, rejected)
        splits, notes = settle_labels(found, roles, splits, label_map)
        columns: dict[str, str | None] = {
            "text": roles.text, "pair": roles.pair, "label": roles.label
        }  # fmt: skip
    else:
        splits, rejected, files, notes = read_rows(found, form, given)
        _refuse_none(found, splits, rejected)
        columns = dict(match(form, found.first, given))
    classes = classes_of if form is None else form.classes
    rows = [row for split in splits.values() for row in split]
    labels = dict(Counter(label for row in rows for label in classes(row)).most_common())
    texts = _Texts(splits)
    names = ["text", "pair"] if form is None else [r.name for r in form.roles if not r.is_target]
    inputs = [*names[:1], *(name for name in names[1:] if name in ("pair", "context"))]
    tasks = [task_name(task)] if task else tasks_of(LABELLED if form is None else form.name)
    return Inspection(
        source=str(source), files=files, rejected=rejected, columns=columns,
        lengths=dict(zip(inputs, texts.lengths, strict=False)),
        splits={name: len(part) for name, part in splits.items()},
        labels=labels, spellings=near_spellings(labels) if form is None else {},
        duplicates=texts.duplicates, conflicts=texts.conflicts, example=texts.example,
        small={label: count for label, count in labels.items() if count < FEW_ROWS},
        telling=telling_labels(rows, labels) if form is None else [],
        ids=_id_columns(found, columns) if form is None else [],
        leaks=count_leaks(splits) if len(splits) > 1 else {}, notes=notes,
        problem=_problem(splits, found.title, form, tasks[0]), named=dict(given),
        task=tasks[0], asked_task=task, other_tasks=tasks[1:],
    )  # fmt: skip


def _refuse_none(
    found: Found, splits: Mapping[str, Sequence[Example]], rejected: Sequence[Rejected]
) -> None:
    if not any(splits.values()):
        first = f" ({rejected[0].reason}, line {rejected[0].line})" if rejected else ""
        raise DataError(f"{found.title}: none of {len(rejected)} rows can be used{first}.")


def _problem(
    splits: dict[str, list[Example]], title: str, form: AbstractForm | None, task: str
) -> str | None:
    """Return why `read_dataset` would refuse the usable rows, or `None`."""
    if "train" not in splits:
        return f"{title} has no train split; rows of {', '.join(splits)} can be evaluated on"
    train = splits["train"]
    try:
        if form is None:
            check_classes(Counter(row.label for row in train), name=title)
            if task not in ASKS_NEW_LABELS:
                drop_unseen(splits, drops=False)
            if len(train) < _FEW_TEXTS:
                complete_splits(splits, seed=0)
        else:
            drop_unseen(splits, drops=False, classes=form.classes)
            complete_splits(splits, seed=0, group=form.group, stratum=form.stratum)
    except DataError as error:
        return str(error)
    return None


@final
class _Texts:
    """One pass over the texts: their lengths, and which occur twice within a split."""

    def __init__(self, splits: Mapping[str, list[Example]]) -> None:
        lengths: list[int] = []
        pair_lengths: list[int] = []
        self.duplicates = self.conflicts = 0
        self.example: Duplicate | None = None
        for rows in splits.values():
            seen: dict[tuple[str, ...], Example] = {}
            for row in rows:
                words = row.text.lower().split()
                lengths.append(len(words))
                key: tuple[str, ...] = (" ".join(words),)
                if row.pair is not None:
                    second = row.pair.lower().split()
                    pair_lengths.append(len(second))
                    key = (*key, " ".join(second))
                key = (*key, *(row.parts or {}).get("choices", ()))
                earlier = seen.setdefault(key, row)
                if earlier is not row:
                    self.note(earlier, row)
        self.lengths = [_lengths(own) for own in (lengths, pair_lengths) if own]

    def note(self, first: Example, second: Example) -> None:
        """Count a duplicate, and keep the first one with differing labels as the example."""
        self.duplicates += 1
        differs = first.label != second.label
        if self.example is None or (differs and self.conflicts == 0):
            self.example = Duplicate(
                first=f"{first.file}:{first.line}", second=f"{second.file}:{second.line}",
                text=first.text, labels=(first.label, second.label),
            )  # fmt: skip
        self.conflicts += differs


def _lengths(lengths: list[int]) -> Lengths:
    return Lengths(median=int(statistics.median(lengths)), longest=max(lengths))


def near_spellings(labels: Mapping[str, int]) -> dict[str, str]:
    """Find labels that look like a misspelling of a more frequent one.

    Labels that differ in case, white space or punctuation only count, and of longer ones those
    that are nearly equal and much rarer.

    Args:
        labels: Label -> rows.

    Example:
        >>> near_spellings({"good": 90, "Good": 2, "refund": 50, "refnud": 1})
        {'Good': 'good', 'refnud': 'refund'}
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels, key=lambda name: -labels[name]):
        groups["".join(c for c in label.casefold() if c.isalnum()) or label].append(label)
    found = {other: group[0] for group in groups.values() for other in group[1:]}
    heads = {key: group[0] for key, group in groups.items()}
    if len(heads) > 500:
        return found  # with that many labels, all pairs are too many and chance likenesses too
    for key, label in heads.items():
        rivals = [
            k for k in heads
            if len(key) > 5 and labels[heads[k]] >= 10 * labels[label]
            and not any(c.isdigit() for c in k + key)
        ]  # fmt: skip
        near = difflib.get_close_matches(key, rivals, n=1, cutoff=0.82)
        if near:
            found[label] = heads[near[0]]
    return found


def telling_labels(rows: Sequence[Example], labels: Mapping[str, int]) -> list[str]:
    """Find labels whose own name stands in most of their texts and hardly in other texts.

    Such a text was perhaps written with the label at hand, and gives it away.
    """
    if len(labels) > 50:
        return []
    names = {label: label.casefold() for label in labels if len(label) > 2}
    own: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    # Every so many rows rather than the first: a file may be sorted by label.
    for row in rows[:: max(1, len(rows) // _TELLING_ROWS)]:
        seen[row.label] += 1
        text = row.text.casefold()
        for label, name in names.items():
            if name in text:
                (own if row.label == label else elsewhere)[label] += 1
    return [
        label
        for label in names
        if seen[label] >= 5
        and own[label] >= _TELLING_SHARE * seen[label]
        and elsewhere[label] <= 0.1 * max(1, seen.total() - seen[label])
    ]


def _id_columns(found: Found, columns: Mapping[str, str | None]) -> list[str]:
    """Return columns besides text and pair in which all of many values differ."""
    table = found.first
    if len(table.rows) < FEW_ROWS:
        return []
    used = {columns["text"], columns["pair"]}
    names = []
    for index, column in enumerate(table.columns):
        if column in used:
            continue
        values = {str(row[index]) for row in table.rows}
        if len(values) == len(table.rows):
            names.append(column)
    return names
