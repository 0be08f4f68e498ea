"""A text with any number of labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.data.columns import simplify
from inlay.data.forms.base import (
    AbstractForm,
    Place,
    Role,
    is_broken_list,
    kind_of,
    parsed,
    sample,
    text_of,
)
from inlay.data.rows import Example
from inlay.data.table import MISSING, Table

_SEPARATORS = ("|", ";", ",")
_SEVERAL = ("labels", "tags", "categories", "topics")
"""Names that promise more than one label."""

_MANY_WORDS = 4
"""Words that a label hardly has."""


@final
class MultiLabelled(AbstractForm):
    """A text, perhaps a second one, and `labels`: a list, or a text that `|`, `;` or `,` divides.

    In a table a list is also read as JSON. Without being told so, texts are taken for sets of
    labels if their column is named in the plural and what is divided occurs in different sets: in
    `Home, Garden` and `Books` the comma is a part of a name.

    No label at all is allowed. `parts` holds `labels`.
    """

    name: ClassVar[str] = "multi-labelled"
    roles: ClassVar[tuple[Role, ...]] = (
        Role("text", ("text", "sentence", "review", "content", "comment", "question", "premise")),
        Role("pair", ("textpair", "pair", "sentence2", "hypothesis"), is_needed=False),
        Role("labels", ("labels", "label", "tags", "categories", "topics"), is_target=True),
    )

    @override
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        seen = [parsed(value) for value in sample(table, columns["labels"])]
        if seen and all(isinstance(value, list) for value in seen):
            return True
        return simplify(columns["labels"]) in _SEVERAL and _are_sets(seen)

    @override
    def example(
        self, cells: Mapping[str, Any], place: Place, counts: Counter[str], *, has_target: bool
    ) -> Example | str:
        text, fault = text_of(cells.get("text", MISSING), "text")
        pair = cells.get("pair", MISSING)
        if pair is not MISSING and fault is None:
            pair, fault = text_of(pair, "second text")
        if fault:
            return fault
        labels = _labels(cells.get("labels", MISSING)) if has_target else []
        if isinstance(labels, str):
            return labels
        shown = ", ".join(labels)
        second = None if pair is MISSING else pair
        return Example(text, second, shown, place.file, place.line, {"labels": labels})

    @override
    def classes(self, row: Example) -> Sequence[str]:
        labels: list[str] = (row.parts or {}).get("labels", [])
        return labels

    @override
    def stratum(self, row: Example) -> str:
        return row.label


def _are_sets(seen: Sequence[Any]) -> bool:
    """Tell whether texts are sets of labels: some are divided, and parts occur in several sets."""
    texts = [value for value in seen if isinstance(value, str)]
    for separator in _SEPARATORS if len(texts) == len(seen) else ():
        sets = {frozenset(_divided(text, separator)) for text in texts}
        if not any(len(parts) > 1 for parts in sets):
            continue
        counts = Counter(part for parts in sets for part in parts)
        shared = sum(count for count in counts.values() if count > 1)
        is_short = all(len(part.split()) <= _MANY_WORDS for part in counts)
        return is_short and shared >= counts.total() / 2
    return False


def _divided(text: str, separator: str | None) -> list[str]:
    parts = text.split(separator) if separator else [text]
    return [part.strip() for part in parts if part.strip()]


def _labels(value: Any) -> list[str] | str:
    value = parsed(value)
    if value is MISSING or value is None:
        return "labels are missing"
    if is_broken_list(value):
        return "labels begin as a list and are none; write it as JSON"
    if isinstance(value, str):
        separator = next((sign for sign in _SEPARATORS if sign in value), None)
        value = _divided(value, separator)
    if not isinstance(value, list):
        return f"labels are {kind_of(value)}, not a list"
    wrong = next((item for item in value if not isinstance(item, str) or not item.strip()), None)
    if wrong is not None:
        return f"labels hold {kind_of(wrong)}, not names only"
    return sorted(set(value))
