"""`Average`: a weighted mean of what adapters give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from typing_extensions import override

from inlay.compose.nodes import AbstractNode, Composition, checked_children, pasted
from inlay.errors import CompositionError


@final
@dataclass(frozen=True, slots=True, init=False, repr=False)
class Average(AbstractNode):
    """Give, at every site, the weighted mean of the children's outputs.

    Equal children are one with the sum of their weights, and nested averages are flattened, so
    `Average(Average(a, b), a) == Average(a, b, weights=(0.75, 0.25))`.

    Args:
        children: Adapter names, compositions, or `None` for the base's own output.
        weights: One number for each child, summing to 1; equal ones if not given.

    Raises:
        CompositionError: If there is no child, one is no composition, or the weights do not fit.

    Example:
        >>> print(Average("a", "b", weights=(0.25, 0.75)))
        average(a, b; weights=0.25,0.75)
    """

    word: ClassVar[str] = "average"

    children: tuple[Composition, ...]
    weights: tuple[float, ...]

    def __init__(self, *children: Composition, weights: Sequence[float] | None = None) -> None:
        checked = checked_children("Average", children, may_be_none=True)
        given = [1 / len(checked)] * len(checked) if weights is None else [*map(float, weights)]
        if len(given) != len(checked):
            raise CompositionError(
                f"Average: {len(checked)} children and {len(given)} weights; give one for each."
            )
        if not all(map(math.isfinite, given)) or abs(sum(given) - 1) > 1e-6:
            raise CompositionError(
                f"Average: the weights {tuple(given)} sum to {sum(given):g}; they must sum to 1."
            )
        total: dict[Composition, float] = {}
        for child, weight in zip(checked, given, strict=True):
            parts = (
                zip(child.children, child.weights, strict=True)
                if isinstance(child, Average)
                else [(child, 1.0)]
            )
            for part, share in parts:
                total[part] = total.get(part, 0.0) + weight * share
        object.__setattr__(self, "children", tuple(total))
        object.__setattr__(self, "weights", tuple(total.values()))

    @override
    def with_children(self, children: Sequence[Composition]) -> "Average":
        return Average(*children, weights=self.weights)

    @override
    def options(self) -> dict[str, str]:
        equal = len(set(self.weights)) == 1
        return {} if equal else {"weights": ",".join(repr(weight) for weight in self.weights)}

    def __repr__(self) -> str:
        """Write it so that it can be pasted back."""
        return pasted(self, weights=self.weights)
