"""A text with any number of labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.data.forms.base import AbstractForm, Place, Role, kind_of, sample, text_of
from inlay.data.rows import Example
from inlay.data.table import MISSING, Table

_SEPARATORS = ("|", ";", ",")


@final
class MultiLabelled(AbstractForm):
    """A text, perhaps a second one, and `labels`: a list, or a text that `|`, `;` or `,` divides.

    No label at all is allowed. `parts` holds `labels`.
    """

    name: ClassVar[str] = "multi-labelled"
    roles: ClassVar[tuple[Role, ...]] = (
        Role("text", ("text", "sentence", "review", "content", "comment", "question", "premise")),
        Role("pair", ("textpair", "sentence2", "hypothesis"), is_needed=False),
        Role("labels", ("labels", "label", "tags", "categories", "topics"), is_target=True),
    )

    @override
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        seen = sample(table, columns["labels"])
        return bool(seen) and all(isinstance(value, list) for value in seen)

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


def _labels(value: Any) -> list[str] | str:
    if value is MISSING or value is None:
        return "labels are missing"
    if isinstance(value, str):
        separator = next((sign for sign in _SEPARATORS if sign in value), None)
        value = [part.strip() for part in value.split(separator)] if separator else [value.strip()]
        value = [part for part in value if part]
    if not isinstance(value, list):
        return f"labels are {kind_of(value)}, not a list"
    wrong = next((item for item in value if not isinstance(item, str) or not item.strip()), None)
    if wrong is not None:
        return f"labels hold {kind_of(wrong)}, not names only"
    return sorted(set(value))
