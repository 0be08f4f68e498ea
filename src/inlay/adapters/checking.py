"""Refuse, when it is activated, a composition that cannot run."""

from collections.abc import Callable, Collection, Mapping, Sequence

from torch import nn

from inlay.adapters.dropping import Dropping
from inlay.adapters.entry import Entry
from inlay.adapters.fronts import inserted_by, prompts_of, shifts_of
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
    is_pair: bool,
) -> None:
    """Refuse what cannot run.

    Args:
        active: The composition, taken apart.
        entry: Gives the adapter of a name.
        combinations: The learned combinations on the model by key.
        merged: The adapter that is merged into the base.
        model: The base.
        is_pair: Whether it has several stacks, of which one reads another's positions.

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
    check_places(active, entry)
    check_returned(active, entry, is_pair=is_pair)
    check_heads(active.plan, entry, model)


def check_kinds(active: Active, entry: Callable[[str], Entry]) -> None:
    """Refuse methods that cannot be mixed with others.

    Raises:
        CompositionError: If one is where what it would do is not defined.
    """
    for name, node in _mixed(active):
        method = entry(name).method
        if not isinstance(method, AbstractSiteMethod):
            continue
        word = type(node).__name__
        where = f"{active.composition!r}: {name!r} is of method {method.name!r}, which"
        for member in method.members():
            reason = member.not_averaged if isinstance(node, Average) else member.not_learned
            if reason:
                raise CompositionError(
                    f"{where} cannot be in {word}, because {reason}. Use it alone or in Stack, "
                    "Rows or Parallel."
                )
        if any(layer.undoes for layer in entry(name).layers.values()):
            raise CompositionError(
                f"{where} undoes at the output what it did at the embedding, and {word} "
                "would leave a part of that; use it alone, in a Stack, in Rows or in Parallel, or "
                "add it with at='embedding'."
            )


def _mixed(active: Active) -> list[tuple[str, AbstractNode]]:
    """List the adapters that are inside something that mixes, with what that is."""
    return [
        (name, node)
        for program in active.plan.programs
        for node in walk(program)
        if isinstance(node, Average | Fuse | Route)
        for name in names_in(node)
    ]


def check_fronts(active: Active, entry: Callable[[str], Entry]) -> None:
    """Refuse to read word vectors beside an adapter that puts further vectors in front of them.

    Raises:
        CompositionError: If what is read there would be shorter than what is read later.
    """
    for program in active.plan.programs:
        entries = {name: entry(name) for name in names_in(program)}
        for front, found in entries.items():
            if not prompts_of(found):
                continue
            for name, other in entries.items():
                layers = [layer for site in found.layers if (layer := other.layer_at(site))]
                if any(layer.only_reads for layer in layers):
                    raise CompositionError(
                        f"{active.composition!r}: {name!r} reads the word vectors and {front!r} "
                        "puts further ones in front of them, so it would read fewer positions "
                        f"there than at the blocks; add {name!r} with at='block, output'."
                    )


def check_places(active: Active, entry: Callable[[str], Entry]) -> None:
    """Refuse words that would have to be at several positions at once.

    Raises:
        CompositionError: If they would.
    """
    shifts = {program: shifts_of(program, entry) for program in active.plan.programs}
    for program, own in shifts.items():
        if len(own) > 1:
            raise CompositionError(
                f"{program!r}: with takes_positions=True the words would stand "
                f"{' and '.join(map(str, sorted(own)))} positions further back at once; average "
                "prefixes that take equally many, or use them in Rows or Parallel."
            )
    if len(set().union(*shifts.values())) > 1:
        for name in active.names:
            numbering = entry(name).numbering
            if numbering is not None and not numbering.by_row:
                raise CompositionError(
                    f"{active.composition!r}: {name!r} moves words to other positions, and this "
                    "base numbers the words of all rows alike; use it alone or in a Stack, or "
                    "prefixes that take equally many positions in each row."
                )


def check_returned(active: Active, entry: Callable[[str], Entry], *, is_pair: bool) -> None:
    """Refuse rows whose outputs would not be of one length.

    Raises:
        CompositionError: If a prompt that is returned is in some rows only, or longer there.
    """
    prompts = [
        [prompt for name in names_in(program) for prompt in prompts_of(entry(name))]
        for program in active.plan.programs
    ]
    returned = {any(prompt.returned for prompt in own) for own in prompts if own}
    lengths = {inserted_by(program, entry) for program in active.plan.programs}
    if returned == {True, False} or (True in returned and len(lengths) > 1 and not is_pair):
        raise CompositionError(
            f"{active.composition!r}: with returned=True the model returns the positions of a "
            f"prompt too, and here rows have {', '.join(map(str, sorted(lengths)))} of them, or "
            "not all return them; use prompts of one length, or Prompt(returned=False) in all."
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
