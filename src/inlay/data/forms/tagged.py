"""Tokens with a tag each: entities, slots, parts of speech, chunks."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.data.forms.base import AbstractForm, Given, Place, Role, kind_of, sample
from inlay.data.rows import Example
from inlay.data.table import MISSING, Table

_MARK = re.compile("^[BILOUES]-")
_WORD = re.compile(r"\w+|[^\w\s]")


def split_words(text: str) -> list[str]:
    """Split a raw text into words and signs, as most tagged corpora do.

    Example:
        >>> split_words("Fly to Rome, please!")
        ['Fly', 'to', 'Rome', ',', 'please', '!']
    """
    return _WORD.findall(text)


@final
class Tagged(AbstractForm):
    """`tokens` and `tags`, two lists of equal length; `parts` holds both."""

    name: ClassVar[str] = "tagged"
    roles: ClassVar[tuple[Role, ...]] = (
        Role("tokens", ("tokens", "words")),
        Role("tags", ("tags", "nertags", "postags", "chunktags", "slots", "upos"), is_target=True),
    )

    @override
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        return all(
            isinstance(value, list)
            for role in ("tokens", "tags")
            for value in sample(table, columns[role], 20)
        )

    @override
    def example(
        self, cells: Mapping[str, Any], place: Place, counts: Counter[str], *, has_target: bool
    ) -> Example | str:
        tokens = _strings(cells.get("tokens", MISSING), "tokens")
        if isinstance(tokens, str):
            return tokens
        blank = [number for number, token in enumerate(tokens) if not token.strip()]
        if blank:
            return f"token {blank[0]} is empty"
        parts: dict[str, Any] = {"tokens": tokens}
        if has_target:
            tags = _strings(cells.get("tags", MISSING), "tags")
            if isinstance(tags, str):
                return tags
            if len(tags) != len(tokens):
                return f"{len(tags)} tags for {len(tokens)} tokens"
            parts["tags"] = tags
        label = " ".join(parts.get("tags", ()))
        return Example(" ".join(tokens), None, label, place.file, place.line, parts)

    @override
    def classes(self, row: Example) -> Sequence[str]:
        tags = set((row.parts or {}).get("tags", ()))
        return sorted({_MARK.sub("", tag) for tag in tags if tag != "O"})

    @override
    def cells_of(self, given: Given) -> dict[str, Any]:
        if isinstance(given, str):
            return {"tokens": split_words(given)}
        if isinstance(given, Mapping):
            return super().cells_of(given)
        return {"tokens": list(given)}


def _strings(value: Any, what: str) -> list[str] | str:
    if value is MISSING or value is None:
        return f"{what} are missing"
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list):
        return f"{what} are {kind_of(value)}, not a list"
    if not value:
        return f"{what} are empty"
    wrong = next((item for item in value if not isinstance(item, str)), None)
    if wrong is not None:
        return f"{what} hold {kind_of(wrong)}, not texts only"
    return value
