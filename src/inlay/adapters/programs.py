"""Run a program, a composition for one kind of row, on the tensors of one site."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from inlay.adapters.entry import Entry
from inlay.compose.average import Average
from inlay.compose.fuse import Fuse
from inlay.compose.nodes import AbstractNode
from inlay.compose.plan import Program
from inlay.compose.route import Route
from inlay.compose.stack import Stack
from inlay.errors import AdapterError
from inlay.methods.base import AbstractAdapterLayer, AbstractLayer, add
from inlay.methods.combining import AbstractCombiner, Combined
from inlay.methods.fusion import FusionLayer
from inlay.ops.fusion import LowRankUpdates
from inlay.sites.padding import Call
from inlay.sites.reading import Read
from inlay.sites.tensors import Index, entries


@final
@dataclass(frozen=True, slots=True)
class Around:
    """What a forward pass knows beside the tensors of a site."""

    entry: Callable[[str], Entry]
    """Gives the adapter of a name."""
    merged: str | None = None
    """The adapter that is merged into the base, which acts without its layers."""
    call: Call = field(default_factory=Call)
    """Its padding, and whether it continues an earlier one."""
    drops: Callable[[str, bool], bool] = field(default=lambda *_: False)
    """Tells whether what acts at a site is left out, if it is in training mode or not."""
    note: Callable[[str, str, Tensor, Tensor | None], None] = field(default=lambda *_: None)
    """Told of each learned combination: its key, the site, the weights, and its loss term."""


@final
@dataclass(frozen=True, slots=True)
class SitePass:
    """One site in one forward pass, for all rows or some of them."""

    site: str
    """The site's name."""
    start: Tensor
    """What the base computed, `(rows, positions, width)`, channels last."""
    read: Read
    """Gives what methods read."""
    around: Around
    """The forward pass."""
    turns: dict[str, int] = field(default_factory=dict)
    """How often adapters ran here already in this pass, of those that take turns."""

    def rows(self, index: Index) -> "SitePass":
        """Return the same for some entries of the first dimension."""
        picked = self.around.call.rows(index, len(self.start))
        return SitePass(
            self.site,
            entries(self.start, index),
            self.read.rows(index),
            dataclasses.replace(self.around, call=picked),
            self.turns,
        )

    def run(self, program: Program, x: Tensor) -> Tensor:
        """Return what a program makes of `x`; the same object if nothing in it acts here."""
        if isinstance(program, str):
            return self.adapter(program, x)
        if isinstance(program, Stack):
            for child in self.in_order(program.children):
                x = self.run(child, x)
        elif isinstance(program, Average):
            return self.average(program, x)
        elif isinstance(program, Fuse | Route):
            return self.combined(program, x)
        return x

    def in_order(self, children: Sequence[Program]) -> list[Program]:
        """Return a stack's children as they run here: those that undo come last, in reverse."""
        undoing = []
        for child in children:
            layer = self.layer(child) if isinstance(child, str) else None
            if layer is not None and layer.undoes:
                undoing.append(child)
        return [child for child in children if child not in undoing] + undoing[::-1]

    def layer(self, name: str) -> AbstractAdapterLayer | None:
        """Return an adapter's layer that acts here, if it has one that is not left out."""
        around = self.around
        layer = None if name == around.merged else around.entry(name).layer_at(self.site)
        if not isinstance(layer, AbstractAdapterLayer) or around.drops(self.site, layer.training):
            return None
        return layer

    def inputs(self, layer: AbstractAdapterLayer | AbstractCombiner, x: Tensor) -> Tensor:
        """Return what a layer reads, `x` being what the adapters before it have made."""
        if layer.reads == "x":
            return x
        return self.read(layer.reads, None if x is self.start else x)

    def adapter(self, name: str, x: Tensor) -> Tensor:
        """Run one adapter."""
        layer = self.layer(name)
        if layer is None:
            there = self.around.entry(name).layer_at(self.site)
            if isinstance(there, AbstractAdapterLayer) and there.takes_turns:
                there.leave_out()
            return x
        inputs = self.inputs(layer, x)
        mask = mask_for(layer, x, self.around.call)
        if layer.takes_turns:
            turn = self.turns.get(name, 0)
            self.turns[name] = turn + 1
            layer.take_turn(turn)
        result: Tensor = layer(inputs, x) if mask is None else layer(inputs, x, mask)
        return result

    def average(self, node: Average, x: Tensor) -> Tensor:
        """Return the weighted mean of the children's outputs."""
        outputs = [self.run(child, x) for child in node.children]
        if all(output is x for output in outputs):
            return x
        exact = torch.promote_types(x.dtype, torch.float32)
        parts = zip(outputs, node.weights, strict=True)
        total = sum(output.to(exact) * weight for output, weight in parts)
        return torch.as_tensor(total).to(x.dtype)

    def combined(self, node: Fuse | Route, x: Tensor) -> Tensor:
        """Return `x` with the children's updates as learned weights combine them."""
        layer = self.around.entry(node.key).combiner_at(self.site)
        if layer is None or self.around.drops(self.site, layer.training):
            self.only_read(node, x)  # nothing is added here, but something may be read
            return x
        exact = torch.promote_types(x.dtype, torch.float32)
        if isinstance(layer, FusionLayer):
            combined = self.fused(layer, node.children, x)
            if combined is not None:
                self.around.note(node.key, self.site, combined.weights, combined.loss)
                return add(x, combined.update)
        before, query = x.to(exact), self.inputs(layer, x).to(exact)
        updates = [self.run(child, x).to(exact) - before for child in node.children]
        combined = layer(query, torch.stack(updates), self.mask_of(x))
        self.around.note(node.key, self.site, combined.weights, combined.loss)
        return add(x, combined.update)

    def only_read(self, program: Program, x: Tensor) -> None:
        """Let what only reads take `x` in, or take note that it is left out; nothing else runs."""
        if isinstance(program, AbstractNode):
            for child in program.children:
                self.only_read(child, x)
        elif program is not None:
            layer = self.around.entry(program).layer_at(self.site)
            if isinstance(layer, AbstractAdapterLayer) and layer.only_reads:
                self.adapter(program, x)

    def fused(self, layer: FusionLayer, children: Sequence[Program], x: Tensor) -> Combined | None:
        """Fuse without computing the updates, if each child is one adapter of low rank."""
        layers = [self.layer(name) if isinstance(name, str) else None for name in children]
        forms = [None if found is None else found.low_rank() for found in layers]
        hidden, ups, biases = [], [], []
        for found, form in zip(layers, forms, strict=True):
            if found is None or form is None:
                return None
            hidden.append(form.reduce(self.inputs(found, x)))
            ups.append(form.up)
            biases.append(torch.zeros_like(form.up[:, 0]) if form.bias is None else form.bias)
        updates = LowRankUpdates(
            torch.cat(hidden, dim=-1), torch.cat(ups, dim=-1), torch.stack(biases),
            tuple(up.shape[1] for up in ups),
        )  # fmt: skip
        return layer.forward_low_rank(self.inputs(layer, x), updates)

    def mask_of(self, x: Tensor) -> Tensor | None:
        """Return the padding mask if it is known and one of these positions."""
        call = self.around.call
        return call.padding(x) if call.is_readable and x.ndim > 2 else None


def mask_for(layer: AbstractLayer, x: Tensor, call: Call) -> Tensor | None:
    """Return the padding mask for a layer that must know it.

    Raises:
        AdapterError: If it looks at positions that a key-value cache does not hold, or padding
            cannot be told.
    """
    if layer.counts_positions:
        return call.seen(x)
    if not layer.sees_neighbours:
        return None
    if call.past:
        raise AdapterError(
            "the active adapter looks at neighbouring positions, which a key-value cache does "
            "not hold; generate with use_cache=False."
        )
    return call.padding(x)
