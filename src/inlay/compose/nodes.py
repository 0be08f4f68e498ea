"""Expressions over adapter names: `Stack`, and what every layer below asks of them."""

from dataclasses import dataclass
from typing import final

from inlay.errors import CompositionError


@final
@dataclass(frozen=True, slots=True, init=False)
class Stack:
    """Run adapters one after the other at every site: each one sees the output of the one before.

    Nested stacks are flattened, so `Stack(Stack(a, b), c) == Stack(a, b, c)`.

    Args:
        children: Adapter names or stacks, at least one.

    Raises:
        CompositionError: If there is no child, or one is neither a name nor a stack.

    Example:
        >>> Stack("en", Stack("sst2", "domain")).names
        ('en', 'sst2', 'domain')
    """

    names: tuple[str, ...]

    def __init__(self, *children: "str | Stack") -> None:
        if not children:
            raise CompositionError("Stack(): give at least one adapter.")
        flat: list[str] = []
        for child in children:
            if isinstance(child, Stack):
                flat += child.names
            elif isinstance(child, str):
                flat.append(child)
            else:
                raise CompositionError(
                    f"Stack: {child!r} is neither an adapter's name nor a stack."
                )
        object.__setattr__(self, "names", tuple(flat))

    def __repr__(self) -> str:
        """Write it so that it can be pasted back."""
        return f"Stack({', '.join(repr(name) for name in self.names)})"


Composition = str | Stack | None
"""What can be active: one adapter, a stack, or nothing (the base alone)."""


def names_in(composition: Composition) -> tuple[str, ...]:
    """List the adapters of a composition in the order in which they run.

    Raises:
        CompositionError: If it is no composition.
    """
    if composition is None:
        return ()
    if isinstance(composition, str):
        return (composition,)
    if isinstance(composition, Stack):
        return composition.names
    raise CompositionError(
        f"{composition!r} is no composition; give an adapter's name, Stack(...) or None."
    )
