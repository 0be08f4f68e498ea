"""Read labelled rows to be measured on, without making splits of them."""

from collections.abc import Mapping
from pathlib import Path

from inlay.data.finding import find_tables
from inlay.data.formed import read_rows
from inlay.data.forms.registry import choose_form
from inlay.data.rows import Example
from inlay.data.sources import (
    is_labelled,
    labelled_roles,
    named_columns,
    read_examples,
    refuse_many_rejected,
    rejection_notes,
    settle_labels,
)
from inlay.errors import DataError


def read_labelled(
    source: str | Path,
    *,
    task: str | None = None,
    split: str = "test",
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[str, str] | None = None,
    max_rejected: float = 0.01,
) -> tuple[list[Example], list[str]]:
    """Return the rows of one split, or all rows of a source that has no splits, and notes.

    Args:
        source: What `inlay.data.sources.read_dataset` reads.
        task: What the rows are for; told from the columns if `None`.
        split: `train`, `validation` or `test`.
        text_column: Where the texts are; guessed if `None`.
        pair_column: Where the second texts of pairs are; guessed if `None`.
        label_column: Where the labels are; guessed if `None`.
        columns: Role -> column, for the roles of other forms.
        label_map: Labels to rename.
        max_rejected: The fraction of rows, in [0, 1], that may be unusable.

    Raises:
        DataError: If the rows cannot be used, or there is no such split.
    """
    found = find_tables(source, needs_train=False)
    given = named_columns(columns, text=text_column, pair=pair_column, label=label_column)
    form = choose_form(found.first, task=task, columns=given, is_labelled=is_labelled(given))
    if form is not None:
        splits, rejected, files, notes = read_rows(found, form, given)
        refuse_many_rejected(found.title, rejected, files, max_rejected=max_rejected)
    else:
        roles = labelled_roles(found, given)
        splits, rejected, files = read_examples(found, roles)
        refuse_many_rejected(found.title, rejected, files, max_rejected=max_rejected)
        splits, notes = settle_labels(found, roles, splits, label_map or {})
    notes = [*rejection_notes(rejected, files), *notes]
    if list(splits) == ["train"]:
        return splits["train"], notes
    if split not in splits:
        raise DataError(f"{source} has no split {split!r}; it has {', '.join(splits)}.")
    return splits[split], notes
