"""Refuse, when it is activated, a composition that cannot run."""

from collections.abc import Callable, Mapping

from torch import nn

from inlay.adapters.entry import Entry
from inlay.adapters.heads import check_heads
from inlay.adapters.running import Active
from inlay.compose.fuse import Fuse
from inlay.compose.nodes import AbstractNode, Composition, names_in
from inlay.compose.route import Route
from inlay.errors import CompositionError
from inlay.methods.base import AbstractWeightMethod


def resolved(composition: Composition, entry: Callable[[str], Entry]) -> Composition:
    """Put the `Fuse` or `Route` in the place of the name of its learned weights.

    Raises:
        AdapterError: If a name is not known.
        CompositionError: If it is no composition.
    """
    if isinstance(composition, str):
        return entry(composition).combines or composition
    if isinstance(composition, AbstractNode):
        return composition.with_children([resolved(c, entry) for c in composition.children])
    names_in(composition)
    return composition


def check(
    active: Active,
    entry: Callable[[str], Entry],
    combinations: Mapping[str, Fuse | Route],
    *,
    merged: str | None,
    model: nn.Module,
) -> None:
    """Refuse what cannot run.

    Args:
        active: The composition, taken apart.
        entry: Gives the adapter of a name.
        combinations: The learned combinations on the model by key.
        merged: The adapter that is merged into the base.
        model: The base.

    Raises:
        CompositionError: With the reason.
    """
    composition = active.composition
    alone = active.plan.only[0] if active.plan.only else composition
    for name in active.names:
        if isinstance(entry(name).method, AbstractWeightMethod) and alone != name:
            raise CompositionError(
                f"{composition!r}: {name!r} exchanges the base's own weights and can only be used "
                "alone."
            )
    if merged is not None and alone != merged:
        raise CompositionError(
            f"{composition!r} cannot run while {merged!r} is merged into the base; call unmerge() "
            "first."
        )
    for node in active.combinations:
        known = combinations.get(node.key)
        if known is None:
            raise CompositionError(
                f"{node!r} has no learned weights on this model; call "
                f"adapters.add_combiner({node!r}) and train them, or load them."
            )
        if known != node:
            raise CompositionError(
                f"{node!r}: the learned weights {node.key!r} are over {known!r}; choose another "
                "name."
            )
    check_heads(active.plan, entry, model)
