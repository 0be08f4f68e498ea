"""From what stands in the label column to the names of the classes."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from inlay.errors import DataError, counted, did_you_mean

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MAX_GRADES = 20


def name_of(value: Any, class_names: list[str] | None = None) -> str | None:
    """Return a label's name, or `None` if the value is no label.

    Args:
        value: What stands in the cell: text, a whole number, true or false.
        class_names: The names that a whole number is an index into, if the file has them.

    Example:
        >>> name_of(3), name_of(True), name_of(None)
        ('3', 'true', None)
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if class_names is None:
            return str(value)
        return class_names[value] if 0 <= value < len(class_names) else None
    if isinstance(value, float) and value == value:
        return repr(value)
    return None


def merge_numbers(labels: Iterable[str], *, column: str, num_rows: int) -> dict[str, str]:
    """Return what to rename so that whole numbers have one spelling: "1.0" becomes "1".

    Args:
        labels: The distinct labels of all splits.
        column: The label column's name, for messages.
        num_rows: How many rows carry them.

    Raises:
        DataError: If the labels are a continuous quantity, or differ in nearly every row.
    """
    distinct = list(labels)
    if distinct and all(_NUMBER.fullmatch(label.strip()) for label in distinct):
        values = {label: float(label) for label in distinct}
        if all(value.is_integer() for value in values.values()):
            renamed = {label: str(int(value)) for label, value in values.items()}
            plain = {old: new for old, new in renamed.items() if "." in old or "e" in old.lower()}
            _refuse_ids([renamed[label] for label in distinct], column, num_rows)
            return plain
        if len(distinct) > _MAX_GRADES or 2 * len(distinct) > num_rows:
            low, high = min(values.values()), max(values.values())
            raise DataError(
                f'the labels in column "{column}" are numbers from {low:g} to {high:g} '
                f"({len(distinct)} different ones): that is regression. Learn the numbers with "
                f"--task regression --column score={column}, put them into classes, such as low "
                "and high, or name another column with --label-column."
            )
    _refuse_ids(distinct, column, num_rows)
    return {}


def apply_label_map(
    counts: Mapping[str, int], label_map: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the renaming of labels that was asked for, and a sentence for each.

    Args:
        counts: Rows of each label.
        label_map: From the label in the file to the label wanted.

    Raises:
        DataError: If a label is in no row, or is to become empty.
    """
    notes = []
    for old, new in label_map.items():
        if old not in counts:
            known = sorted(counts)
            raise DataError(
                f'--map-label {old}={new}: no row has the label "{old}". The labels are: '
                f"{list_labels(known)}.{did_you_mean(old, known)}"
            )
        if not new.strip():
            raise DataError(f"--map-label {old}={new}: a label cannot be empty.")
        rows = "1 row" if counts[old] == 1 else f"{counts[old]} rows"
        notes.append(f'label "{old}" renamed to "{new}": {rows}.')
    return dict(label_map), notes


def list_labels(labels: Iterable[str], *, most: int = 8) -> str:
    """Return labels in quotes, the first few of them.

    Example:
        >>> list_labels(["a", "b", "c"], most=2)
        '"a", "b" and 1 more'
    """
    quoted = [f'"{label}"' for label in labels]
    if len(quoted) <= most:
        return ", ".join(quoted)
    return f"{', '.join(quoted[:most])} and {len(quoted) - most} more"


def check_classes(counts: Counter[str], *, name: str) -> None:
    """Refuse rows from which no classifier can be learned.

    Args:
        counts: Rows of each label.
        name: The data set, for the message.

    Raises:
        DataError: If there is only one class, or fewer than ten rows.
    """
    total = counts.total()
    if len(counts) == 1:
        raise DataError(f'only one class ("{next(iter(counts))}"): nothing to learn')
    if total < 10:
        raise DataError(
            f"{name} has {counted(total, 'usable row')} in {len(counts)} classes: too few to learn "
            "from and to test on. At least 10 are needed, 20 or more of each class to be of use."
        )


def _refuse_ids(labels: list[str], column: str, num_rows: int) -> None:
    if len(labels) > 50 and 2 * len(labels) > num_rows:
        raise DataError(
            f'column "{column}" has {len(labels)} different labels in {num_rows} rows: it looks '
            "like an identifier or a text, not a class. Name the column of the class with "
            "--label-column."
        )
