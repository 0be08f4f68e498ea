"""`Route`: a learned gate over adapters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from typing_extensions import override

from inlay.compose.nodes import AbstractNode, Composition, checked_children, pasted, text_of
from inlay.errors import CompositionError


@final
@dataclass(frozen=True, slots=True, init=False, repr=False)
class Route(AbstractNode):
    """Mix the children's updates by a gate that looks at the input, per token or per sequence.

    The gate is learned and belongs to the model under `key`; `adapters.add_combiner`
    makes it and `adapters.train(Route(...))` trains it over the frozen children.

    Args:
        children: Adapter names or compositions, at least two and all different.
        name: A name for the learned weights, so that there can be several over the same children.

    Raises:
        CompositionError: If there are fewer than two children, one is no composition, or two are
            equal.
    """

    word: ClassVar[str] = "route"

    children: tuple[Composition, ...]
    name: str

    def __init__(self, *children: Composition, name: str = "") -> None:
        checked = checked_children("Route", children)
        if len(checked) < 2 or len(set(checked)) < len(checked):
            raise CompositionError(
                f"Route: give at least two different children, not {', '.join(map(repr, checked))}."
            )
        object.__setattr__(self, "children", checked)
        object.__setattr__(self, "name", name)

    @property
    def key(self) -> str:
        """The name under which the learned weights are kept: `name`, or else the text form."""
        return self.name or str(self)

    @override
    def with_children(self, children: Sequence[Composition]) -> "Route":
        return Route(*children, name=self.name)

    @override
    def options(self) -> dict[str, str]:
        return {"name": text_of(self.name)} if self.name else {}

    def __repr__(self) -> str:
        """Write it so that it can be pasted back."""
        return pasted(self, **({"name": self.name} if self.name else {}))
