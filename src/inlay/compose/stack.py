"""`Stack`: adapters one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from typing_extensions import override

from inlay.compose.nodes import AbstractNode, Composition, checked_children, pasted


@final
@dataclass(frozen=True, slots=True, init=False, repr=False)
class Stack(AbstractNode):
    """Run adapters one after the other at every site: each one sees the output of the one before.

    Nested stacks are flattened, so `Stack(Stack(a, b), c) == Stack(a, b, c)`. LoRA updates in a
    stack add, as each reads the linear map's own input.

    Args:
        children: Adapter names or compositions, at least one.

    Raises:
        CompositionError: If there is no child, or one is no composition.

    Example:
        >>> print(Stack("en", Stack("sst2", "domain")))
        stack(en, sst2, domain)
    """

    word: ClassVar[str] = "stack"

    children: tuple[Composition, ...]

    def __init__(self, *children: Composition) -> None:
        flat: list[Composition] = []
        for child in checked_children("Stack", children):
            flat += child.children if isinstance(child, Stack) else [child]
        object.__setattr__(self, "children", tuple(flat))

    @override
    def with_children(self, children: Sequence[Composition]) -> "Stack":
        return Stack(*children)

    def __repr__(self) -> str:
        """Write it so that it can be pasted back."""
        return pasted(self)
