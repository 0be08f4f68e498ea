"""From a table and its columns' roles to examples; every row that cannot be one says why."""

from collections.abc import Callable
from typing import Any

from inlay.data.columns import Roles
from inlay.data.decoding import fault_in
from inlay.data.labels import name_of
from inlay.data.rows import Example, Rejected
from inlay.data.table import MISSING, Table


def check_rows(table: Table, roles: Roles) -> tuple[list[Example], list[Rejected]]:
    """Return the table's usable rows, and all its rejected ones in file order.

    Args:
        table: The rows as they were read.
        roles: Which columns to take; without a label column every label is "".
    """
    examples: list[Example] = []
    rejected = list(table.rejected)
    text_at = table.columns.index(roles.text)
    pair_at = table.columns.index(roles.pair) if roles.pair else None
    label_at = table.columns.index(roles.label) if roles.label else None
    class_names = table.class_names.get(roles.label or "")
    is_plain = not table.is_typed and not table.has_faults and not table.row_files
    name = table.name
    files = table.row_files
    for index, row in enumerate(table.rows):
        text = row[text_at]
        pair = row[pair_at] if pair_at is not None else None
        label = row[label_at] if label_at is not None else ""
        is_whole = is_plain and text and label and pair_at is None
        if is_whole and not (text.isspace() or label.isspace()):
            examples.append(Example(text, None, label, name, table.lines[index]))
            continue
        file = files[index] if files else name
        reason = _text_fault(text, "text", table.encoding)
        if reason is None and pair_at is not None:
            reason = _text_fault(pair, "second text", table.encoding)
        if reason is None and label_at is not None:
            reason = _label_fault(label, class_names, table.encoding)
        if reason is not None:
            rejected.append(Rejected(file, table.lines[index], reason, table.raw(index)))
            continue
        label = name_of(label, class_names) or ""
        examples.append(Example(text, pair, label, file, table.lines[index]))
    if files is None:
        rejected.sort(key=lambda row: row.line)
    return examples, rejected


def label_kinds(table: Table, label_column: str) -> set[str]:
    """Return the kinds of value in a typed table's label column: "text", "number", "true/false"."""
    names: dict[type, str] = {str: "text", bool: "true/false", int: "number", float: "number"}
    kinds = {names.get(type(value)) for value in table.column(label_column)}
    return {kind for kind in kinds if kind}


def _text_fault(value: Any, what: str, encoding: str) -> str | None:
    if isinstance(value, str):
        if not value.strip():
            return f"{what} is empty"
        return _encoding_fault(value, what, encoding)
    return _absence(value, what) or f"{what} is {_kind(value)}, not a text"


def _label_fault(value: Any, class_names: list[str] | None, encoding: str) -> str | None:
    if isinstance(value, str):
        return _encoding_fault(value, "label", encoding) if value.strip() else "label is empty"
    absence = _absence(value, "label")
    if absence or name_of(value, class_names) is not None:
        return absence
    if class_names is not None:
        return f"label {value} is not one of the {len(class_names)} classes"
    return f"label is {_kind(value)}, not a class"


def _absence(value: Any, what: str) -> str | None:
    if value is MISSING:
        return f"{what} is missing"
    if value is None:
        return f"{what} is null"
    if isinstance(value, float) and value != value:
        return f"{what} is not a number (NaN)"
    return None


def _encoding_fault(value: str, what: str, encoding: str) -> str | None:
    fault = fault_in(value, encoding)
    if fault:
        return fault
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return f"{what} has half of a surrogate pair"
    return None


_KINDS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (lambda value: isinstance(value, bool), "true or false"),
    (lambda value: isinstance(value, int | float), "a number"),
    (lambda value: isinstance(value, list), "a list"),
    (lambda value: isinstance(value, dict), "an object"),
)


def _kind(value: Any) -> str:
    return next((word for matches, word in _KINDS if matches(value)), type(value).__name__)
