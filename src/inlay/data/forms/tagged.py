"""Tokens with a tag each: entities, slots, parts of speech, chunks."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.data.forms.base import (
    AbstractForm,
    Given,
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
from inlay.errors import counted

_MARK = re.compile("^[BIELSU]-")
_WORD = re.compile(r"\w+|[^\w\s]")


def split_words(text: str) -> list[str]:
    """Split a raw text into words and signs, as most tagged corpora do.

    Example:
        >>> split_words("Fly to Rome, please!")
        ['Fly', 'to', 'Rome', ',', 'please', '!']
    """
    return _WORD.findall(text)


def word_places(text: str) -> list[tuple[int, int]]:
    """Return the first character and the one after the last of each word of `split_words`."""
    return [found.span() for found in _WORD.finditer(text)]


def joined_places(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Return where tokens stand in the text that joins them with a space between."""
    places, start = [], 0
    for token in tokens:
        places.append((start, start + len(token)))
        start += len(token) + 1
    return places


def worded(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """Return the tokens that are tagged, as people write them.

    Example:
        >>> worded(["Fly", "to", "Rome"], ["O", "O", "B-city"])
        'Rome/B-city'
    """
    pairs = zip(tokens, tags, strict=True)
    return " ".join(f"{token}/{tag}" for token, tag in pairs if tag != "O") or "(all O)"


@final
class Tagged(AbstractForm):
    """`tokens` and `tags`: two lists of equal length, or two texts that white space divides.

    In a table a list is written as JSON. `parts` holds both. Without tags, a text in place of
    tokens is split into words and signs, and `parts` holds where they stand in it as `places`.
    """

    name: ClassVar[str] = "tagged"
    roles: ClassVar[tuple[Role, ...]] = (
        Role("tokens", ("tokens", "words", "text", "sentence")),
        Role(
            "tags",
            ("tags", "nertags", "postags", "chunktags", "slots", "upos", "labels"),
            is_target=True,
        ),
    )

    @override
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        seen = [sample(table, columns[role], 20) for role in ("tokens", "tags")]
        return all(values and all(isinstance(_list(v), list) for v in values) for values in seen)

    @override
    def example(
        self, cells: Mapping[str, Any], place: Place, counts: Counter[str], *, has_target: bool
    ) -> Example | str:
        given = _list(cells.get("tokens", MISSING))
        is_raw = isinstance(given, str) and not has_target
        if is_raw and (fault := text_of(given, "text")[1]):
            return fault
        tokens = _strings(split_words(given) if is_raw else given, "token")
        if isinstance(tokens, str):
            return tokens
        parts: dict[str, Any] = {"tokens": tokens}
        if not has_target:
            if is_raw:
                parts["places"] = [list(span) for span in word_places(given)]
            text = given if is_raw else " ".join(tokens)
            return Example(text, None, "", place.file, place.line, parts)
        tags = _strings(_list(cells.get("tags", MISSING)), "tag")
        if isinstance(tags, str):
            return tags
        if len(tags) != len(tokens):
            return f"{counted(len(tags), 'tag')} for {counted(len(tokens), 'token')}"
        parts["tags"] = tags
        return Example(" ".join(tokens), None, worded(tokens, tags), place.file, place.line, parts)

    @override
    def classes(self, row: Example) -> Sequence[str]:
        tags = set((row.parts or {}).get("tags", ()))
        return sorted({_MARK.sub("", tag) for tag in tags if tag != "O"})

    @override
    def cells_of(self, given: Given) -> dict[str, Any]:
        if isinstance(given, str):
            return {"tokens": given}
        if isinstance(given, Mapping):
            return super().cells_of(given)
        return {"tokens": list(given)}


def _list(value: Any) -> Any:
    """Return a list of texts that a table writes as one; a text that only begins so stays one."""
    found = parsed(value)
    is_list = isinstance(found, list) and all(isinstance(item, str) for item in found)
    return found if is_list else value


def _strings(value: Any, what: str) -> list[str] | str:
    """Return the texts of a list, or the reason why they cannot be used."""
    if value is MISSING or value is None:
        return f"{what}s are missing"
    if is_broken_list(value):
        return f"{what}s begin as a list and are none; write it as JSON"
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list):
        return f"{what}s are {kind_of(value)}, not a list"
    if not value:
        return f"there are no {what}s"
    for number, item in enumerate(value):
        if not isinstance(item, str):
            return f"{what} {number} is {kind_of(item)}, not a text"
        if not item.strip():
            return f"{what} {number} is empty"
        if any("\ud800" <= character <= "\udfff" for character in item):
            return f"{what} {number} has half of a surrogate pair"
    return value
