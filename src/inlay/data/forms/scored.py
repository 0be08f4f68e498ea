"""A text or a pair of texts with a number, such as how alike the two are."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.data.forms.base import AbstractForm, Place, Role, kind_of, sample, text_of
from inlay.data.rows import Example
from inlay.data.table import MISSING, Table

_FEW = 20
"""With fewer different numbers they may as well be classes."""


@final
class Scored(AbstractForm):
    """A text, perhaps a second one, and a number; `parts` holds `score`."""

    name: ClassVar[str] = "scored"
    roles: ClassVar[tuple[Role, ...]] = (
        Role("text", ("text", "sentence1", "sentence", "texta", "review", "premise", "question1")),
        Role("pair", ("textpair", "pair", "sentence2", "textb", "hypothesis", "question2"), False),
        Role("score", ("score", "similarity", "value", "label", "rating"), is_target=True),
    )

    @override
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        numbers = [_number(value) for value in sample(table, columns["score"])]
        known = {number for number in numbers if number is not None}
        is_whole = all(number.is_integer() for number in known)
        return None not in numbers and len(known) >= _FEW and not is_whole

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
        second = None if pair is MISSING else pair
        if not has_target:
            return Example(text, second, "", place.file, place.line, {})
        value = cells.get("score", MISSING)
        number = _number(value)
        if number is None:
            absent = value is MISSING or value is None or value == ""
            shown = repr(value) if isinstance(value, str) else kind_of(value)
            return "score is missing" if absent else f"score is {shown}, not a finite number"
        return Example(text, second, f"{number:g}", place.file, place.line, {"score": number})


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
