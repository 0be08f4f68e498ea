"""`Rows`: a different adapter, or none, for each row of the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from typing_extensions import override

from inlay.compose.nodes import AbstractNode, Composition, checked_children, pasted


@final
@dataclass(frozen=True, slots=True, init=False, repr=False)
class Rows(AbstractNode):
    """Send row `i` of the batch through composition `i`; `None` rows run on the base alone.

    Args:
        children: One adapter name, composition or `None` for each row of the batch.

    Raises:
        CompositionError: If there is no child, or one is no composition.
    """

    word: ClassVar[str] = "rows"

    children: tuple[Composition, ...]

    def __init__(self, *children: Composition) -> None:
        checked = checked_children("Rows", children, may_be_none=True)
        object.__setattr__(self, "children", checked)

    @override
    def with_children(self, children: Sequence[Composition]) -> "Rows":
        return Rows(*children)

    def __repr__(self) -> str:
        """Write it so that it can be pasted back."""
        return pasted(self)
