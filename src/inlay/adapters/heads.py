"""Which head answers under a composition, and the answers of task heads group by group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from inlay.adapters.entry import Entry
from inlay.adapters.rows import RowGroups, picked
from inlay.compose.average import Average
from inlay.compose.fuse import Fuse
from inlay.compose.plan import Plan, Program
from inlay.compose.route import Route
from inlay.compose.stack import Stack
from inlay.errors import CompositionError

Shares = list[tuple[float, nn.Module | None]]
"""Heads with the weights of their answers; `None` is the base's own head."""


@final
@dataclass(frozen=True, slots=True)
class RowAnswer:
    """What one head gave for the rows it belongs to."""

    composition: Program
    """What these rows ran through."""
    rows: tuple[int, ...]
    """Places of the rows in the batch, copies of a `Parallel` one after the other."""
    output: Any
    """The head's output for them, in this order."""


def heads_of(program: Program, find: Callable[[str], nn.Module | None]) -> Shares:
    """Return which head answers: of a stack the last one, of an average all with its weights.

    Args:
        program: What the rows run through.
        find: Gives the head of an adapter, or of the learned weights of `Fuse` and `Route`.
    """
    if isinstance(program, str):
        return [(1.0, find(program))]
    if isinstance(program, Fuse | Route):
        return [(1.0, find(program.key))]
    if isinstance(program, Stack):
        for child in reversed(program.children):
            found = heads_of(child, find)
            if any(head is not None for _, head in found):
                return found
    if isinstance(program, Average):
        return [
            (weight * share, head)
            for child, weight in zip(program.children, program.weights, strict=True)
            for share, head in heads_of(child, find)
        ]
    return [(1.0, None)]


def own_head_finder(entry: Callable[[str], Entry], path: str) -> Callable[[str], nn.Module | None]:
    """Return what gives an adapter's copy of one head of the model."""
    return lambda name: entry(name).own_heads.get(path)


def answer(shares: Shares, args: tuple[Any, ...], kwargs: dict[str, Any], base: Any) -> Any:
    """Return what the heads give for one call; `base` is what the base's own head gave."""
    if len({id(head) for _, head in shares}) == 1:
        head = shares[0][1]
        return base if head is None else head(*args, **kwargs)
    total: Any = 0.0
    for weight, head in shares:
        total = total + weight * (base if head is None else head(*args, **kwargs))
    return total


def answer_rows(
    plan: Plan,
    find: Callable[[str], nn.Module | None],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    output: Tensor,
) -> Tensor:
    """Return the answers of the model's own head, each row's from the head it belongs to."""
    groups, leading = RowGroups(plan, len(output), output.device), len(output)
    parts = []
    for program, index in groups.index.items():
        given = picked(args, index, leading), picked(kwargs, index, leading)
        base = output.index_select(0, index)
        parts.append(answer(heads_of(program, find), *given, base))
    return groups.joined(parts)


def task_answers(
    plan: Plan, entry: Callable[[str], Entry], tensors: Sequence[Tensor]
) -> list[RowAnswer]:
    """Run the task heads of a composition, each on its own rows.

    Args:
        plan: The active composition.
        entry: Gives the adapter of a name.
        tensors: The heads' arguments, hidden states first; a tensor that has the rows of one copy
            of the batch only, such as a mask, is repeated.

    Raises:
        CompositionError: If some rows have no head.
    """
    leading = len(tensors[0])
    full = [
        torch.cat([tensor] * len(plan.copies)) if len(tensor) != leading else tensor
        for tensor in tensors
    ]
    answers = []
    for program, index in RowGroups(plan, leading, tensors[0].device).index.items():
        shares = heads_of(program, lambda name: entry(name).head)
        if any(head is None for _, head in shares):
            raise CompositionError(
                f"{program!r} has no head of its own for rows {index.tolist()}; give one when "
                "adding the adapter: add(..., head=module)."
            )
        rows = tuple(index.tolist())
        given = tuple(picked(tensor, index, leading) for tensor in full)
        answers.append(RowAnswer(program, rows, answer(shares, given, {}, None)))
    return answers


def check_heads(plan: Plan, entry: Callable[[str], Entry], model: nn.Module) -> None:
    """Refuse rows or averages whose answers would not have one shape.

    Raises:
        CompositionError: If copies of one head of the model have different sizes.
    """
    if plan.only and len(heads_of(plan.only[0], lambda _: None)) == 1:
        return
    paths = {p for program in plan.programs for p in _paths(program, entry)}
    for path in sorted(paths):
        sizes: dict[tuple[tuple[int, ...], ...], Program] = {}
        for program in plan.programs:
            for _, head in heads_of(program, own_head_finder(entry, path)):
                module = model.get_submodule(path) if head is None else head
                shape = tuple(tuple(value.shape) for value in module.state_dict().values())
                sizes.setdefault(shape, program)
        if len(sizes) > 1:
            one, two, *_ = sizes.values()
            raise CompositionError(
                f"the copies of head {path!r} in {one!r} and {two!r} have different sizes, so "
                "their answers fit no one tensor. Use the bare base with task heads and "
                "`adapters.answers(...)`, which gives them group by group."
            )


def _paths(program: Program, entry: Callable[[str], Entry]) -> set[str]:
    found: set[str] = set()

    def note(name: str) -> None:
        found.update(entry(name).own_heads)

    heads_of(program, note)
    return found
