"""Refuse to put an adapter above another, or to take one away, where that cannot be."""

from collections.abc import Iterable, Mapping

from inlay.adapters.entry import Entry
from inlay.compose.fuse import Fuse
from inlay.compose.nodes import names_in
from inlay.compose.plan import combiners_in
from inlay.compose.route import Route
from inlay.errors import CompositionError


def check_stacking(below: Entry, above: Entry) -> None:
    """Refuse to stack a new adapter on one that it cannot run above.

    Raises:
        CompositionError: With the reason.
    """
    if below.combines is not None:
        raise CompositionError(
            f"{below.name!r} is the learned weights of {str(below.combines)!r}, which an adapter "
            "cannot be stacked on; stack it on one adapter, or use Stack(...) yourself."
        )
    for entry in (below, above):
        if entry.weights:
            raise CompositionError(
                f"{above.name!r} stacked on {below.name!r}: {entry.name!r} is of method "
                f"{entry.method.name!r}, which exchanges the base's own weights and can only be "
                "used alone; take one that acts at sites, such as bottleneck or lora."
            )


def check_removable(
    name: str, entries: Iterable[Entry], combinations: Mapping[str, Fuse | Route]
) -> None:
    """Refuse to remove an adapter that others need.

    Raises:
        CompositionError: If another is stacked on it, or learned weights are over it.
    """
    above = [entry.name for entry in entries if entry.stack_on == name]
    if above:
        raise CompositionError(f"{above[0]!r} is stacked on {name!r}; remove that first.")
    removed = combinations.get(name)
    over = [
        key
        for key, node in combinations.items()
        if name in names_in(node) or (removed is not None and removed in combiners_in(node)[1:])
    ]
    if over:
        raise CompositionError(
            f"the learned combination {over[0]!r} is over {name!r}; remove that first."
        )
