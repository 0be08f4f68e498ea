"""Send different rows of a batch through different programs, and put them back in order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from inlay.adapters.programs import SitePass
from inlay.compose.plan import Plan, Program


@final
class RowGroups:
    """The rows of one first dimension, grouped by program.

    Args:
        plan: Says which rows run through what.
        leading: Size of the first dimension.
        device: Where the tensors are.

    Raises:
        CompositionError: If the rows cannot be shared out.
    """

    def __init__(self, plan: Plan, leading: int, device: torch.device) -> None:
        found = plan.groups(leading)
        order = torch.tensor([row for rows in found.values() for row in rows])
        self.index = {program: torch.tensor(rows, device=device) for program, rows in found.items()}
        self.back = torch.argsort(order).to(device)

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Put what each group gave, in the order of `index`, back into the order of the rows."""
        return torch.cat(list(parts)).index_select(0, self.back)


def act_on_rows(site: SitePass, groups: RowGroups, acting: Callable[[Program], bool]) -> Tensor:
    """Run each group of rows through its program at one site.

    Args:
        site: The site, for all rows.
        groups: The rows of each program.
        acting: Tells whether a program does anything at this site.
    """
    busy = {program for program in groups.index if acting(program)}
    if not busy:
        return site.start
    parts = []
    for program, index in groups.index.items():
        if program in busy:
            part = site.rows(index)
            parts.append(part.run(program, part.start))
        else:
            parts.append(site.start.index_select(0, index))
    return groups.joined(parts)


def picked(value: Any, index: Tensor, leading: int) -> Any:
    """Return some rows of every tensor that has all of them, in tuples and mappings too."""
    if isinstance(value, Tensor):
        return value.index_select(0, index) if value.ndim and len(value) == leading else value
    if isinstance(value, Mapping):
        return {key: picked(item, index, leading) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(picked(item, index, leading) for item in value)
    return value
