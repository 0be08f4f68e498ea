"""Compositions from text: `stack(en, ner)`, `average(a, "b c"; weights=0.3,0.7)`."""

import json
import re
from typing import final

from inlay.compose.average import Average
from inlay.compose.fuse import Fuse
from inlay.compose.nodes import AbstractNode, Composition
from inlay.compose.parallel import Parallel
from inlay.compose.route import Route
from inlay.compose.rows import Rows
from inlay.compose.stack import Stack
from inlay.errors import CompositionError, did_you_mean

NODES: dict[str, type[AbstractNode]] = {
    node.word: node for node in (Stack, Parallel, Average, Fuse, Route, Rows)
}
"""Every kind of expression by its word."""

_TOKEN = re.compile(r'\s*(?:(?P<name>[\w./+-]+)|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<mark>[(),;=]))')


def parse_composition(text: str) -> Composition:
    """Read a composition from text; `str` of the result gives the text in its plainest form.

    A name of letters, digits and `. / _ + -` stands as it is, any other in double quotes, written
    as in JSON. Settings follow a semicolon: `weights` of an average, `name` of a fusion or route.
    `none` is the base alone.

    Raises:
        CompositionError: If the text is no composition; the message points at the place.

    Example:
        >>> parse_composition("stack(en, average(a, b; weights=0.3,0.7))")
        Stack('en', Average('a', 'b', weights=(0.3, 0.7)))
    """
    return _Reader(text).whole()


@final
class _Reader:
    """Reads one text from left to right.

    Args:
        text: What was written.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        place, end = 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if match is None:
                rest = text[place:].lstrip()
                raise self.error(f"{rest[0]!r} cannot stand here", len(text) - len(rest))
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind], match.start(kind)))
            place = match.end()
        self.next = 0

    def whole(self) -> Composition:
        """Read all of the text."""
        found = self.composition()
        if self.next < len(self.tokens):
            raise self.error("nothing may follow", self.tokens[self.next][2])
        return found

    def composition(self) -> Composition:
        """Read a name, `none`, or a word with its children in parentheses."""
        kind, word, place = self.take()
        if kind == "mark":
            raise self.error(f"a name must stand before {word!r}", place)
        if kind == "quoted":
            return self.unquoted(word, place)
        if not self.follows("("):
            return None if word == "none" else word
        if word not in NODES:
            near = did_you_mean(word, NODES)
            raise self.error(f"{word!r} is none of {', '.join(NODES)}.{near}", place)
        children = [self.composition()]
        while self.follows(","):
            children.append(self.composition())
        settings: dict[str, object] = {}
        while self.follows(";"):
            key, value = self.setting(word)
            settings[key] = value
        if not self.follows(")"):
            raise self.error("')' is missing", self.place())
        return NODES[word](*children, **settings)

    def setting(self, word: str) -> tuple[str, object]:
        """Read `weights=0.3,0.7` or `name=x`."""
        _, key, place = self.take()
        allowed = {"average": "weights", "fuse": "name", "route": "name"}.get(word)
        if key != allowed:
            what = f"only {allowed!r}" if allowed else "none"
            raise self.error(f"{word} has no setting {key!r}, {what}", place)
        if not self.follows("="):
            raise self.error("'=' is missing", self.place())
        if key == "name":
            kind, name, place = self.take()
            return key, self.unquoted(name, place) if kind == "quoted" else name
        weights = [self.number()]
        while self.follows(","):
            weights.append(self.number())
        return key, tuple(weights)

    def number(self) -> float:
        """Read one weight."""
        _, word, place = self.take()
        try:
            return float(word)
        except ValueError as error:
            raise self.error(f"{word!r} is no number", place) from error

    def unquoted(self, word: str, place: int) -> str:
        """Read a quoted name."""
        try:
            name: str = json.loads(word)
        except json.JSONDecodeError as error:
            raise self.error(f"{word} is not quoted as in JSON", place) from error
        return name

    def take(self) -> tuple[str, str, int]:
        """Take the next token."""
        if self.next == len(self.tokens):
            raise self.error("the text ends too early", len(self.text))
        self.next += 1
        return self.tokens[self.next - 1]

    def follows(self, mark: str) -> bool:
        """Take the next token if it is this mark."""
        if self.next < len(self.tokens) and self.tokens[self.next][:2] == ("mark", mark):
            self.next += 1
            return True
        return False

    def place(self) -> int:
        """Return where the next token stands."""
        return self.tokens[self.next][2] if self.next < len(self.tokens) else len(self.text)

    def error(self, problem: str, place: int) -> CompositionError:
        """Make the error for a place in the text."""
        return CompositionError(
            f"{self.text!r}, at character {place + 1}: {problem.rstrip('.')}. Write for example "
            "stack(en, ner) or average(a, b; weights=0.3,0.7)."
        )
