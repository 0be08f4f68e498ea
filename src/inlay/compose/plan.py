"""What a composition means for a batch: which rows run through which program."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from inlay.compose.fuse import Fuse
from inlay.compose.nodes import AbstractNode, Composition, walk
from inlay.compose.parallel import Parallel
from inlay.compose.route import Route
from inlay.compose.rows import Rows
from inlay.compose.simplify import simplify
from inlay.compose.stack import Stack
from inlay.errors import CompositionError

Program = Composition
"""A composition without `Parallel` and `Rows`: what one row of the batch runs through."""


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """A composition taken apart: copies of the batch, and a program for each row of each copy.

    Every `Parallel` is moved to the outside and every `Rows` next, which is exact because
    both only choose rows: `Stack(a, Parallel(b, c))` is `Parallel(Stack(a, b), Stack(a, c))`.
    """

    copies: tuple[tuple[Program, ...], ...]
    """For each copy of the batch, in order: one program for all rows, or one for each row."""
    rows: int | None
    """How many rows the batch must have, or `None` if any number will do."""

    @property
    def only(self) -> tuple[Program, ...]:
        """The one program of every row, in a tuple; empty if rows differ."""
        one = len(self.copies) == 1 and self.rows is None
        return self.copies[0] if one else ()

    @property
    def programs(self) -> tuple[Program, ...]:
        """Every program that occurs, each once."""
        return tuple(dict.fromkeys(itertools.chain(*self.copies)))

    def groups(self, leading: int) -> dict[Program, list[int]]:
        """Tell which entries of a tensor's first dimension run through which program.

        Args:
            leading: Its size: the rows of all copies, or a multiple of that where the base has
                split each row into equally many parts, as window attention does.

        Raises:
            CompositionError: If that many entries cannot be shared out.
        """
        found: dict[Program, list[int]] = {}
        unit = len(self.copies) * (self.rows or 1)
        if leading % unit:
            raise CompositionError(
                f"the composition is for {unit} rows at a time, but the first dimension is "
                f"{leading}; give the model a batch of {self.rows or 'equally many'} rows."
            )
        parts = leading // unit
        start = 0
        for copy in self.copies:
            for program in copy:
                size = parts if self.rows is None or len(copy) > 1 else parts * self.rows
                found.setdefault(program, []).extend(range(start, start + size))
                start += size
        return found


def make_plan(composition: Composition) -> Plan:
    """Take a composition apart.

    Raises:
        CompositionError: If it has no clear meaning; the message says why.
    """
    branches = [simplify(branch) for branch in _branches(simplify(composition))]
    split = [(branch, _rows(branch)) for branch in branches]
    sizes = {len(rows) for _, rows in split if rows is not None}
    if len(sizes) > 1:
        raise CompositionError(
            f"{composition!r}: one Rows is for {min(sizes)} rows and another for {max(sizes)}; a "
            "batch has one number of rows."
        )
    return Plan(
        tuple((branch,) if rows is None else rows for branch, rows in split),
        sizes.pop() if sizes else None,
    )


def _branches(composition: Composition) -> tuple[Composition, ...]:
    """Move `Parallel` to the outside."""
    if not isinstance(composition, AbstractNode) or not _contains(composition, Parallel):
        return (composition,)
    if isinstance(composition, Parallel):
        return tuple(itertools.chain(*map(_branches, composition.children)))
    _check_outside(composition, "Parallel")
    if isinstance(composition, Rows):
        raise CompositionError(
            f"{composition!r}: a Parallel inside Rows would give some rows more answers than "
            "others; write Parallel(Rows(...), Rows(...))."
        )
    if sum(_contains(child, Parallel) for child in composition.children) > 1:
        raise CompositionError(
            f"{composition!r}: two Parallel side by side; which goes with which is not said. Write "
            "one Parallel(...) around all that shall run."
        )
    return _spread(composition, [_branches(child) for child in composition.children])


def _rows(composition: Composition) -> tuple[Program, ...] | None:
    """Move `Rows` to the outside; `None` if there is none."""
    if not isinstance(composition, AbstractNode) or not _contains(composition, Rows):
        return None
    if isinstance(composition, Rows):
        if any(_contains(child, Rows) for child in composition.children):
            raise CompositionError(
                f"{composition!r}: Rows inside Rows; a row of a row is not defined."
            )
        return tuple(map(simplify, composition.children))
    _check_outside(composition, "Rows")
    split = [(child, _rows(child)) for child in composition.children]
    sizes = {len(rows) for _, rows in split if rows is not None}
    if len(sizes) > 1:
        raise CompositionError(
            f"{composition!r}: one Rows is for {min(sizes)} rows and another for {max(sizes)}; a "
            "batch has one number of rows."
        )
    return _spread(composition, [(child,) if rows is None else rows for child, rows in split])


def _spread(node: AbstractNode, options: Sequence[Sequence[Composition]]) -> tuple[Program, ...]:
    """Return the node once for each place of the options; an option of one serves all places."""
    number = max(map(len, options))
    return tuple(
        simplify(_rebuilt(node, [o[place] if len(o) > 1 else o[0] for o in options]))
        for place in range(number)
    )


def _rebuilt(node: AbstractNode, children: Sequence[Composition]) -> Composition:
    if isinstance(node, Stack):
        children = [child for child in children if child is not None]
        if not children:
            return None
    return node.with_children(children)


def _check_outside(node: AbstractNode, word: str) -> None:
    if isinstance(node, Fuse | Route):
        raise CompositionError(
            f"{node!r}: {word} inside {type(node).__name__}, whose weights are learned over fixed "
            f"children; put the {word} outside."
        )


def _contains(composition: Composition, kind: type[AbstractNode]) -> bool:
    return any(isinstance(node, kind) for node in walk(composition))


def combiners_in(composition: Composition) -> tuple[Fuse | Route, ...]:
    """List the expressions of a composition that have learned weights, inner ones included."""
    found = [node for node in walk(composition) if isinstance(node, Fuse | Route)]
    return tuple(dict.fromkeys(found))
