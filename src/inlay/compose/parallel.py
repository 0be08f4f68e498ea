"""`Parallel`: the same batch through several adapters in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from typing_extensions import override

from inlay.compose.nodes import AbstractNode, Composition, checked_children, pasted


@final
@dataclass(frozen=True, slots=True, init=False, repr=False)
class Parallel(AbstractNode):
    """Answer one batch by several adapters: the outputs are their batches one after the other.

    The batch is repeated at the model's inputs, so `rows` rows become `len(children) * rows`, and
    row `i * rows + j` of every output is row `j` as child `i` alone gives it. Nested ones are
    flattened.

    Args:
        children: Adapter names, compositions, or `None` for the base alone; at least one.

    Raises:
        CompositionError: If there is no child, or one is no composition.
    """

    word: ClassVar[str] = "parallel"

    children: tuple[Composition, ...]

    def __init__(self, *children: Composition) -> None:
        flat: list[Composition] = []
        for child in checked_children("Parallel", children, may_be_none=True):
            flat += child.children if isinstance(child, Parallel) else [child]
        object.__setattr__(self, "children", tuple(flat))

    @override
    def with_children(self, children: Sequence[Composition]) -> "Parallel":
        return Parallel(*children)

    def __repr__(self) -> str:
        """Write it so that it can be pasted back."""
        return pasted(self)
