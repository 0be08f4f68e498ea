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
from inlay.compose.plan import Program
from inlay.compose.route import Route
from inlay.compose.stack import Stack
from inlay.errors import AdapterError
from inlay.methods.base import AbstractAdapterLayer, add
from inlay.methods.combining import Combined
from inlay.methods.fusion import FusionLayer
from inlay.ops.fusion import LowRankUpdates
from inlay.sites.reading import Read


@final
@dataclass(frozen=True, slots=True)
class Around:
    """What a forward pass knows beside the tensors of a site."""

    entry: Callable[[str], Entry]
    """Gives the adapter of a name."""
    merged: str | None = None
    """The adapter that is merged into the base, which acts without its layers."""
    mask: Tensor | None = None
    """`(rows, positions)`, true where there is no padding; `None` if it is not known."""
    has_cache: bool = False
    """Whether the pass continues an earlier one."""
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

    def rows(self, index: Tensor) -> "SitePass":
        """Return the same for some entries of the first dimension."""
        mask = self.around.mask
        picked = None if mask is None else mask.index_select(0, index)
        return SitePass(
            self.site,
            self.start.index_select(0, index),
            self.read.rows(index),
            dataclasses.replace(self.around, mask=picked),
        )

    def run(self, program: Program, x: Tensor) -> Tensor:
        """Return what a program makes of `x`; the same object if nothing in it acts here."""
        if isinstance(program, str):
            return self.adapter(program, x)
        if isinstance(program, Stack):
            for child in program.children:
                x = self.run(child, x)
        elif isinstance(program, Average):
            return self.average(program, x)
        elif isinstance(program, Fuse | Route):
            return self.combined(program, x)
        return x

    def layer(self, name: str) -> AbstractAdapterLayer | None:
        """Return an adapter's layer that acts here, if it has one."""
        return None if name == self.around.merged else self.around.entry(name).layer_at(self.site)

    def inputs(self, layer: AbstractAdapterLayer, x: Tensor) -> Tensor:
        """Return what a layer reads, `x` being what the adapters before it have made."""
        if layer.reads == "x":
            return x
        return self.read(layer.reads, None if x is self.start else x)

    def adapter(self, name: str, x: Tensor) -> Tensor:
        """Run one adapter."""
        layer = self.layer(name)
        if layer is None:
            return x
        inputs = self.inputs(layer, x)
        mask = self.mask_for(layer, x)
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
        if layer is None:
            return x
        exact = torch.promote_types(x.dtype, torch.float32)
        if isinstance(layer, FusionLayer):
            combined = self.fused(layer, node.children, x)
            if combined is not None:
                self.around.note(node.key, self.site, combined.weights, combined.loss)
                return add(x, combined.update)
        before = x.to(exact)
        updates = [self.run(child, x).to(exact) - before for child in node.children]
        combined = layer(before, torch.stack(updates), self.mask_of(x))
        self.around.note(node.key, self.site, combined.weights, combined.loss)
        return add(x, combined.update)

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
        return layer.forward_low_rank(x, updates)

    def mask_for(self, layer: AbstractAdapterLayer, x: Tensor) -> Tensor | None:
        """Return the padding mask for a layer that looks at neighbours."""
        if not layer.sees_neighbours:
            return None
        if self.around.has_cache:
            raise AdapterError(
                "the active adapter looks at neighbouring positions, which a key-value cache does "
                "not hold; generate with use_cache=False."
            )
        return self.mask_of(x)

    def mask_of(self, x: Tensor) -> Tensor | None:
        """Return the padding mask if it is one of these positions."""
        mask = self.around.mask
        return mask if mask is not None and mask.shape == x.shape[:2] else None
