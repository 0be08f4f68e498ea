"""Send different rows of a batch through different programs, and put them back in order."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from inlay.adapters.programs import SitePass
from inlay.adapters.stacks import Stacks
from inlay.compose.plan import Plan, Program
from inlay.methods.base import AbstractAdapterLayer, Grouped
from inlay.ops.grouped import Slots
from inlay.sites.tensors import Index, entries


@final
class Forms:
    """How layers run together, worked out again only when something about them has changed."""

    def __init__(self) -> None:
        self.layers: list[AbstractAdapterLayer | None] = []
        self.modes: list[bool] = []
        self.owners: list[tuple[dict[str, Any], str, Tensor, torch.dtype]] = []
        """Where each parameter was, which, and its precision."""
        self.found: list[Grouped] = []

    def of(self, layers: list[AbstractAdapterLayer | None]) -> list[Grouped]:
        """Return a form for each layer, or none at all if they cannot run together now."""
        changed = (
            layers != self.layers
            or self.modes != [layer.training for layer in layers if layer is not None]
            or any(
                owner.get(name) is not tensor or tensor.dtype != dtype
                for owner, name, tensor, dtype in self.owners
            )
        )
        if changed:
            self._look_at(layers)
        return self.found

    def _look_at(self, layers: list[AbstractAdapterLayer | None]) -> None:
        there = [layer for layer in layers if layer is not None]
        self.layers, self.modes = layers, [layer.training for layer in there]
        modules = [module for layer in there for module in layer.modules()]
        self.owners = [
            (module._parameters, name, tensor, tensor.dtype)
            for module in modules
            for name, tensor in module._parameters.items()
            if tensor is not None
        ]
        forms = [form for layer in there if (form := layer.grouped())]
        alike = len(forms) == len(layers) and len({form.key for form in forms}) == 1
        self.found = forms if alike else []


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Rows that run together at one site."""

    programs: tuple[Program, ...]
    """One program, or several adapters of one kind that run in one grouped pass."""
    index: Index
    """Their rows, in the order of the batch."""
    slots: Slots
    """The place of each row's program among them."""
    is_busy: bool
    """Whether anything acts on these rows."""
    forms: Forms
    """How several adapters run together."""


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows run at one site."""

    parts: tuple[Part, ...]
    back: Tensor | None
    """Puts the parts' rows, one part after the other, in order; `None` if they are."""


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
        # Kept for passes with gradient too; by its place, as torch.compile traces it so.
        with torch.inference_mode(False):
            self.index = {
                program: torch.tensor(rows, device=device)
                for program, rows in plan.groups(leading).items()
            }
            self.back = torch.argsort(torch.cat(list(self.index.values())))
            # Of plain numbers, as torch.compile traces no size that depends on a tensor's values.
            sizes = [len(rows) for rows in self.index.values()]
            own = [number for number, size in enumerate(sizes) for _ in range(size)]
            self.numbers = torch.tensor(own, device=device)[self.back]
            """For each row, which of the programs in `index` is its own."""
        self.layouts: dict[str, Layout] = {}

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Put what each group gave, in the order of `index`, back into the order of the rows."""
        return torch.cat(list(parts)).index_select(0, self.back)

    def layout(self, site: SitePass, acting: Callable[[Program], bool]) -> Layout:
        """Return how the rows run at a site, worked out the first time."""
        if site.site not in self.layouts:
            with torch.inference_mode(False):
                self.layouts[site.site] = self._made_layout(site, acting)
        return self.layouts[site.site]

    def _made_layout(self, site: SitePass, acting: Callable[[Program], bool]) -> Layout:
        together: dict[Hashable, list[Program]] = {}
        for program in self.index:
            form = grouped_form(site, program)
            key = program if form is None else ("grouped", form.key)
            together.setdefault(key if acting(program) else None, []).append(program)
        parts = tuple(
            self._part(programs, is_busy=key is not None) for key, programs in together.items()
        )
        every = torch.arange(len(self.numbers), device=self.numbers.device)
        order = torch.cat([entries(every, part.index) for part in parts])
        in_order = torch.equal(order, every)
        return Layout(parts, None if in_order else torch.argsort(order))

    def _part(self, programs: Sequence[Program], *, is_busy: bool) -> Part:
        own = [self.index[program] for program in programs]
        index, order = torch.cat(own).sort()
        numbers = [number for number, rows in enumerate(own) for _ in range(len(rows))]
        slots = Slots(tuple(numbers[place] for place in order.tolist()))
        first, last = int(index[0]), int(index[-1])
        lie_so = last - first + 1 == len(index)
        taken = slice(first, last + 1) if lie_so else index
        return Part(tuple(programs), taken, slots, is_busy, Forms())


def grouped_form(site: SitePass, program: Program) -> Grouped | None:
    """Return how the one layer of a program runs in a grouped pass, if it can."""
    layer = site.layer(program) if isinstance(program, str) else None
    return None if layer is None else layer.grouped()


def act_on_rows(
    site: SitePass, groups: RowGroups, stacks: Stacks, acting: Callable[[Program], bool]
) -> Tensor:
    """Run each group of rows through its program at one site.

    Args:
        site: The site, for all rows.
        groups: The rows of each program.
        stacks: Keeps the weights of grouped passes.
        acting: Tells whether a program does anything at this site.
    """
    layout = groups.layout(site, acting)
    if not any(part.is_busy for part in layout.parts):
        return site.start
    outputs, is_changed = [], False
    for part in layout.parts:
        whole = layout.back is None and len(layout.parts) == 1
        if not part.is_busy:
            outputs.append(entries(site.start, part.index))
            continue
        rows = site if whole else site.rows(part.index)
        outputs.append(_run_part(rows, part, stacks))
        is_changed = is_changed or outputs[-1] is not rows.start
    if not is_changed:
        return site.start
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return joined if layout.back is None else joined.index_select(0, layout.back)


def _run_part(rows: SitePass, part: Part, stacks: Stacks) -> Tensor:
    if len(part.programs) == 1:
        return rows.run(part.programs[0], rows.start)
    layers = [rows.layer(str(program)) for program in part.programs]
    forms = part.forms.of(layers)
    if not forms or layers[0] is None:  # one was set to another mode, or is left out
        return _run_one_by_one(rows, part)
    stacked = stacks.of(rows.site, forms)
    return forms[0].run(stacked, part.slots, rows.inputs(layers[0], rows.start), rows.start)


def _run_one_by_one(rows: SitePass, part: Part) -> Tensor:
    numbers = torch.tensor(part.slots.numbers, device=rows.start.device)
    outputs = rows.start
    for number, program in enumerate(part.programs):
        index = (numbers == number).nonzero().squeeze(1)
        own = rows.rows(index)
        outputs = outputs.index_copy(0, index, own.run(program, own.start))
    return outputs


def picked(value: Any, index: Tensor, leading: int) -> Any:
    """Return some rows of every tensor that has all of them, in tuples and mappings too."""
    if isinstance(value, Tensor):
        return value.index_select(0, index) if value.ndim and len(value) == leading else value
    if isinstance(value, Mapping):
        return {key: picked(item, index, leading) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(picked(item, index, leading) for item in value)
    return value
