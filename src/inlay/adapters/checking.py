"""Refuse, when it is activated, a composition that cannot run."""

from collections.abc import Callable, Collection, Mapping, Sequence

from torch import nn

from inlay.adapters.dropping import Dropping
from inlay.adapters.entry import Entry
from inlay.adapters.heads import check_heads
from inlay.adapters.running import Active
from inlay.compose.average import Average
from inlay.compose.fuse import Fuse
from inlay.compose.nodes import AbstractNode, Composition, names_in, walk
from inlay.compose.route import Route
from inlay.compose.stack import Stack
from inlay.errors import AdapterError, CompositionError
from inlay.methods.base import AbstractSiteMethod


def check_name(name: str, taken: Collection[str]) -> None:
    """Refuse what cannot be the name of a new adapter.

    Raises:
        AdapterError: If it is no text, empty, or taken.
    """
    if not isinstance(name, str) or not name:
        raise AdapterError(f"an adapter's name is a text that is not empty, not {name!r}.")
    if name in taken:
        raise AdapterError(
            f"there is an adapter {name!r} already; remove it first or choose another name."
        )


def resolved(composition: Composition, entry: Callable[[str], Entry]) -> Composition:
    """Put in the place of a name what it stands for.

    That is the `Fuse` or `Route` for the name of its learned weights, and `Stack(below, name)` for
    an adapter that is stacked on another, unless the other is in front of it already.

    Raises:
        AdapterError: If a name is not known.
        CompositionError: If it is no composition.
    """
    if isinstance(composition, str):
        own = entry(composition)
        if own.stack_on is not None:
            return Stack(resolved(own.stack_on, entry), composition)
        return own.combines or composition
    if isinstance(composition, Stack):
        return _stacked(composition.children, entry)
    if isinstance(composition, AbstractNode):
        return composition.with_children([resolved(c, entry) for c in composition.children])
    names_in(composition)
    return composition


def _stacked(children: Sequence[Composition], entry: Callable[[str], Entry]) -> Composition:
    """Put a stack together, without running twice what an adapter is stacked on."""
    parts: list[Composition] = []
    for child in children:
        found = resolved(child, entry)
        own = list(found.children) if isinstance(found, Stack) else [found]
        below = own[:-1] if isinstance(child, str) else []
        if below and parts[-len(below) :] == below:
            own = own[-1:]
        parts += own
    return Stack(*parts)


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
        if entry(name).weights and alone != name:
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
    check_kinds(active, entry)
    check_fronts(active, entry)
    check_heads(active.plan, entry, model)


def check_kinds(active: Active, entry: Callable[[str], Entry]) -> None:
    """Refuse methods that cannot run on some of the rows, or be mixed with others.

    Raises:
        CompositionError: If one is where it cannot act, which would leave it without effect.
    """
    mixed = {
        name: type(node).__name__
        for program in active.plan.programs
        for node in walk(program)
        if isinstance(node, Average | Fuse | Route)
        for name in names_in(node)
    }
    for name in active.names:
        method = entry(name).method
        if not isinstance(method, AbstractSiteMethod):
            continue
        where = f"{active.composition!r}: {name!r} is of method {method.name!r}, which"
        composes = all(member.composes for member in method.members())
        if not composes and (name in mixed or not active.plan.only):
            raise CompositionError(
                f"{where} cannot run for some rows of a batch only, nor be mixed with others; use "
                "it alone or in a Stack, not in Rows, Parallel, Average, Fuse or Route."
            )
        if name in mixed and any(layer.undoes for layer in entry(name).layers.values()):
            raise CompositionError(
                f"{where} undoes at the output what it did at the embedding, and {mixed[name]} "
                "would leave a part of that; use it alone, in a Stack, in Rows or in Parallel, or "
                "add it with at='embedding'."
            )


def check_fronts(active: Active, entry: Callable[[str], Entry]) -> None:
    """Refuse to read word vectors beside an adapter that puts further vectors in front of them.

    Raises:
        CompositionError: If what is read there would be shorter than what is read later.
    """
    entries = {name: entry(name) for name in active.names}
    for front, found in entries.items():
        method = found.method
        if not isinstance(method, AbstractSiteMethod):
            continue
        if not any(member.in_front for member in method.members()):
            continue
        for name, other in entries.items():
            layers = [layer for site in found.layers if (layer := other.layer_at(site))]
            if any(layer.only_reads for layer in layers):
                raise CompositionError(
                    f"{active.composition!r}: {name!r} reads the word vectors and {front!r} puts "
                    "further ones in front of them, so it would read fewer positions there than "
                    f"at the blocks; add {name!r} with at='block, output'."
                )


def check_skipping(
    active: Active,
    entry: Callable[[str], Entry],
    dropping: Dropping,
    lowest: int,
    *,
    merged: str | None,
) -> None:
    """Refuse to leave out a number of the lowest blocks, if that cannot be or changes nothing.

    Raises:
        CompositionError: With the reason.
    """
    if not lowest:
        return
    if merged is not None:
        raise CompositionError(
            f"skip_lowest={lowest}: no block of {merged!r} can be left out while it is merged into "
            "the base; call unmerge() first."
        )
    layers = {site: 0 for name in active.names for site in entry(name).layers}
    dropping.check(lowest, layers, f"skip_lowest={lowest}")
