"""What all compositions share: children, names, and a text that reads back."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from inlay.errors import CompositionError

_BARE = re.compile(r"[\w./+-]+")
"""Names that need no quotes in the text form."""


class AbstractNode(ABC):
    """An expression over adapter names; subclasses are frozen dataclasses of plain values."""

    word: ClassVar[str]
    """Its word in the text form."""

    children: "tuple[Composition, ...]"
    """What it is made of, in order."""

    @abstractmethod
    def with_children(self, children: "Sequence[Composition]") -> "AbstractNode":
        """Return the same kind of expression over other children, settings kept."""

    def options(self) -> dict[str, str]:
        """Return the settings of the text form that are not the default."""
        return {}

    def __str__(self) -> str:
        """Write the text form, `stack(en, ner)`; `parse_composition` is the way back."""
        inside = ", ".join(text_of(child) for child in self.children)
        settings = "".join(f"; {key}={value}" for key, value in self.options().items())
        return f"{self.word}({inside}{settings})"


Composition = str | AbstractNode | None
"""What can be active: one adapter's name, an expression, or nothing (the base alone)."""


def text_of(composition: Composition) -> str:
    """Write a composition as text; odd names are quoted as in JSON, nothing is `none`."""
    if composition is None:
        return "none"
    if isinstance(composition, str):
        plain = _BARE.fullmatch(composition) and composition != "none"
        return composition if plain else json.dumps(composition, ensure_ascii=False)
    return str(composition)


def checked_children(
    owner: str, children: Sequence[object], *, may_be_none: bool = False
) -> tuple[Composition, ...]:
    """Return the children if each can be one.

    Raises:
        CompositionError: If there is none, or one is no composition.
    """
    if not children:
        raise CompositionError(f"{owner}(): give at least one adapter.")
    checked: list[Composition] = []
    for child in children:
        if isinstance(child, str | AbstractNode) or (child is None and may_be_none):
            checked.append(child)
        else:
            also = ", None" if may_be_none else ""
            raise CompositionError(
                f"{owner}: {child!r} is neither an adapter's name{also} nor a composition."
            )
    return tuple(checked)


def pasted(node: AbstractNode, **settings: object) -> str:
    """Write a node so that it can be pasted back into Python."""
    parts = [repr(child) for child in node.children]
    parts += [f"{key}={value!r}" for key, value in settings.items()]
    return f"{type(node).__name__}({', '.join(parts)})"


def walk(composition: Composition) -> list[AbstractNode]:
    """List all expressions inside a composition, itself first."""
    if not isinstance(composition, AbstractNode):
        return []
    return [composition, *(node for child in composition.children for node in walk(child))]


def names_in(composition: Composition) -> tuple[str, ...]:
    """List the adapters of a composition in the order in which they are written, each once.

    Raises:
        CompositionError: If it is no composition.
    """
    if composition is None:
        return ()
    if isinstance(composition, str):
        return (composition,)
    if isinstance(composition, AbstractNode):
        return tuple(
            dict.fromkeys(name for child in composition.children for name in names_in(child))
        )
    raise CompositionError(
        f"{composition!r} is no composition; give an adapter's name, an expression such as "
        "Stack(...), or None."
    )
