"""A question, several possible answers, and which of them is right."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.data.forms.base import AbstractForm, Place, Role, kind_of, parsed, text_of
from inlay.data.rows import Example
from inlay.data.splits import text_key
from inlay.data.table import MISSING, Table
from inlay.errors import counted


@final
class Choices(AbstractForm):
    """`question`, a list `choices`, and `label`: the right one's number, letter or text.

    A `context` that the question is about may stand beside it; without a question it is one itself.
    Numbers count from 0, letters from A, unless `choices` is an object of `text` and `label` that
    names each, as in ARC. In a table `choices` is written as JSON. `parts` holds `choices` and, if
    known, `index`.
    """

    name: ClassVar[str] = "choices"
    roles: ClassVar[tuple[Role, ...]] = (
        Role("question", ("question", "text", "premise", "sentence", "context", "ctx")),
        Role("choices", ("choices", "options", "endings", "candidates")),
        Role("context", ("context", "passage", "article", "premise", "ctx", "story"), False),
        Role("label", ("label", "answer", "correct", "gold", "answerkey"), is_target=True),
    )

    @override
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        return True

    @override
    def example(
        self, cells: Mapping[str, Any], place: Place, counts: Counter[str], *, has_target: bool
    ) -> Example | str:
        question, fault = text_of(cells.get("question", MISSING), "question")
        context = cells.get("context", MISSING)
        if (
            context is MISSING
            or context is None
            or (isinstance(context, str) and not context.strip())
        ):
            context = None
        elif fault is None:
            context, fault = text_of(context, "context")
        if fault:
            return fault
        choices = parsed(cells.get("choices", MISSING))
        names: Any = None
        if isinstance(choices, dict):
            choices, names = choices.get("text", MISSING), choices.get("label")
        if not isinstance(choices, list):
            absent = choices is MISSING or choices is None
            return "choices are missing" if absent else f"choices are {kind_of(choices)}"
        if len(choices) < 2:
            return f"{counted(len(choices), 'choice')}; two or more are needed"
        for number, choice in enumerate(choices):
            _, fault = text_of(choice, f"choice {number}")
            if fault:
                return fault
        parts: dict[str, Any] = {"choices": choices}
        if has_target:
            value = cells.get("label", MISSING)
            named = list(map(str, names)) if isinstance(names, list) else []
            # A file may hold the names as numbers and the right one as a text, or the reverse.
            is_name = isinstance(value, str | int) and str(value) in named
            own = is_name and len(named) == len(choices)
            index = named.index(str(value)) if own else _index(value, choices)
            if isinstance(index, str):
                return index
            parts["index"] = index
        label = choices[parts["index"]] if has_target else ""
        return Example(question, context, label, place.file, place.line, parts)

    @override
    def asked(self, row: Example) -> dict[str, Any]:
        own = {"question": row.text, "choices": (row.parts or {})["choices"]}
        return own if row.pair is None else {**own, "context": row.pair}

    @override
    def group(self, row: Example) -> str:
        # Questions on one context stay together, or test would ask about what was seen.
        return text_key(row.text if row.pair is None else row.pair, None)


def _index(value: Any, choices: list[str]) -> int | str:
    if value is MISSING or value is None or value == "":
        return "label is missing"
    if isinstance(value, str):
        if choices.count(value) == 1:
            return choices.index(value)
        if len(value) == 1 and value.isalpha():
            value = ord(value.upper()) - ord("A")
        elif value.isdigit():
            value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return f"label {value!r} is neither a choice nor its number or letter"
    if not 0 <= value < len(choices):
        return f"label {value} is outside the {len(choices)} choices, counted from 0"
    return value
