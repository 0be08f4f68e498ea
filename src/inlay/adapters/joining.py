"""New weights from those of several layers: LoRA by their updates, bottlenecks side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from inlay.adapters.entry import Entry
from inlay.adapters.recipe import Recipe
from inlay.errors import AdapterError
from inlay.methods.base import AbstractMethod
from inlay.methods.bottleneck import Bottleneck, BottleneckLayer
from inlay.methods.lora import LoRA
from inlay.methods.lora_layer import LoRALayer
from inlay.ops.blending import LowRankFit, nearest_low_rank, nearest_low_rank_of_product
from inlay.sites.sitemap import SiteMap


class Blended(NamedTuple):
    """What the new adapter is to be, heads left out."""

    method: AbstractMethod
    tensors: dict[str, Tensor]
    """Named as in `Entry.tensors`, float64."""
    errors: dict[str, float]
    """Site -> what a lower rank leaves out, relative to the update asked for (Frobenius norm)."""
    error: float
    """The same over all sites."""


class _Update(NamedTuple):
    """What a LoRA adds to a weight `W`: `up @ down`, and with magnitudes `stretch * W`."""

    up: Tensor
    """`(out_width, inner)`, scale and weight of the adapter included."""
    down: Tensor
    """`(inner, in_width)`"""
    stretch: Tensor
    """`(out_width, 1)`, zero without magnitudes."""

    def formed(self, rows: Tensor) -> Tensor:
        return self.stretch * rows + self.up @ self.down


def blend_lora(entries: Sequence[Entry], recipe: Recipe) -> Blended:
    """Blend what LoRAs add to weights; `A` and `B` by themselves mean nothing.

    The result is brought to the rank asked for, by default the sum of the ranks (twice the rank
    of an adapter that started as PiSSA), which loses nothing of a weighted sum; `cat` sets the
    factors side by side, without a decomposition. A weighted sum of DoRAs is a DoRA; ties and dare
    give a plain LoRA. The base must have its own weights meanwhile.

    Raises:
        AdapterError: If magnitudes cancel an output channel of the base.
    """
    stretched = recipe.density is None and any(cast(LoRA, e.method).magnitude for e in entries)
    tensors: dict[str, Tensor] = {}
    fits, ranks = {}, {}
    for site in entries[0].layers:
        layers = [cast(LoRALayer, entry.layers[site]) for entry in entries]
        known = [found for layer in layers if (found := layer.base_weight()) is not None]
        weight = (known or [layers[0].a.new_zeros(())])[0].double()
        ranks[site] = recipe.rank or sum(layer.factors()[0].shape[0] for layer in layers)
        fit, stretch = _blended_update(layers, recipe, site, ranks[site], weight)
        fits[site] = fit
        own = _with_lengths(fit, stretch, weight, site) if stretched else {"b": fit.up}
        tensors |= {f"site/{site}/{key}": value for key, value in own.items()}
        tensors[f"site/{site}/a"] = fit.down
    return Blended(
        _method(cast(LoRA, entries[0].method), ranks, magnitude=stretched),
        tensors,
        {site: _relative(fit.lost, fit.total) for site, fit in fits.items()},
        _relative(sum(f.lost for f in fits.values()), sum(f.total for f in fits.values())),
    )


def _method(first: LoRA, ranks: Mapping[str, int], *, magnitude: bool) -> LoRA:
    """Return the settings with these ranks, whose scale is 1: it is in the factors already."""
    most, alike = max(ranks.values()), len(set(ranks.values())) == 1
    return replace(
        first, rank=most, alpha=float(most), scale="alpha/rank", magnitude=magnitude,
        ranks=None if alike else dict(ranks),
        alphas=None if alike else {site: float(rank) for site, rank in ranks.items()},
        init="kaiming" if first.init == "pissa" else first.init,
    )  # fmt: skip


def _update(layer: LoRALayer) -> _Update:
    down, up = (factor.detach().double() for factor in layer.factors())
    found = layer.stretch()
    stretch = torch.zeros_like(up[:, :1]) if found is None else found.detach().double()[:, None]
    return _Update(up * layer.scale * (1 + stretch), down, stretch)


def _blended_update(
    layers: Sequence[LoRALayer], recipe: Recipe, site: str, rank: int, rows: Tensor
) -> tuple[LowRankFit, Tensor]:
    """Return the factors and the stretch of the new update."""
    updates = [_update(layer) for layer in layers]
    none = torch.zeros_like(updates[0].stretch)
    if recipe.density is not None:
        mixed = recipe.mix([update.formed(rows) for update in updates], site)
        return nearest_low_rank(mixed, rank), none
    weights = [weight * recipe.scaling for weight in recipe.used.values()]
    up = torch.cat([u.up * weight for u, weight in zip(updates, weights, strict=True)], dim=1)
    down = torch.cat([update.down for update in updates])
    stretch = none
    for update, weight in zip(updates, weights, strict=True):
        stretch = stretch + weight * update.stretch
    if recipe.way == "cat":
        return LowRankFit(up, down, 0.0, 1.0), stretch
    fit = nearest_low_rank_of_product(up, down, rank)
    if rows.ndim:  # the rank leaves nothing out of what the lengths do
        total = float(_Update(up, down, stretch).formed(rows).square().sum())
        fit = fit._replace(total=total)
    return fit, stretch


def _with_lengths(fit: LowRankFit, stretch: Tensor, rows: Tensor, site: str) -> dict[str, Tensor]:
    """Return `B` and the magnitudes with which `W + stretch * W + up @ down` is a DoRA."""
    gain = 1 + stretch
    if float(gain.abs().min()) < 1e-6:
        raise AdapterError(
            f"blend: with these weights the adapters' magnitudes cancel an output channel of the "
            f"base at {site!r}, which no magnitude can give. Change the weights a little."
        )
    b = fit.up / gain
    lengths = gain * (rows + b @ fit.down).norm(dim=1, keepdim=True)
    magnitude = lengths - rows.norm(dim=1, keepdim=True)
    return {"b": b, "magnitude": magnitude.squeeze(1)}


def _relative(lost: float, total: float) -> float:
    return math.sqrt(lost / total) if total else 0.0


def join_bottlenecks(entries: Sequence[Entry], recipe: Recipe, sites: SiteMap) -> Blended:
    """Set bottlenecks side by side: the update of the wide one is the weighted sum of theirs.

    Their scales and the weights go into the up-projection, norms of their own before them into
    the first map; both are exact.

    Raises:
        AdapterError: If a norm comes last, which no sum can hold, or no setting gives the widths.
    """
    method = cast(Bottleneck, entries[0].method)
    if method.norm_after:
        raise AdapterError(
            "blend(method='cat'): these bottlenecks end with a norm of their own (norm_after), "
            "and a sum of normed updates is no normed update. Use inlay.Average to run both."
        )
    tensors: dict[str, Tensor] = {}
    widths: dict[str, int] = {}
    for site in entries[0].layers:
        layers = [cast(BottleneckLayer, entry.layers[site]) for entry in entries]
        joined = _joined(layers, list(recipe.used.values()))
        widths[site] = joined["up.weight"].shape[1]
        tensors |= {f"site/{site}/{key}": value for key, value in joined.items()}
    return Blended(replace(method, scaling=1.0, **_widths(widths, sites)), tensors, {}, 0.0)


def _joined(layers: Sequence[BottleneckLayer], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the tensors of one wide layer."""
    linears = [[m for m in layer.down if isinstance(m, nn.Linear)] for layer in layers]
    tensors: dict[str, Tensor] = {}
    first = [_without_norm(layer, chain[0]) for layer, chain in zip(layers, linears, strict=True)]
    tensors["down.0.weight"] = torch.cat([weight for weight, _ in first])
    tensors["down.0.bias"] = torch.cat([bias for _, bias in first])
    for depth in range(1, len(linears[0])):
        inner = [chain[depth] for chain in linears]
        place = f"down.{2 * depth}"  # an activation follows each map
        tensors[f"{place}.weight"] = _block_diagonal([m.weight.detach().double() for m in inner])
        tensors[f"{place}.bias"] = torch.cat([m.bias.detach().double() for m in inner])
    ups, bias = [], torch.zeros_like(layers[0].up.bias.detach().double())
    for layer, weight in zip(layers, weights, strict=True):
        scale = torch.as_tensor(layer.scale).detach().to(bias) * weight
        ups.append(layer.up.weight.detach().double() * scale.view(-1, 1))
        bias = bias + layer.up.bias.detach().double() * scale
    tensors["up.weight"], tensors["up.bias"] = torch.cat(ups, dim=1), bias
    if isinstance(layers[0].norm_before, nn.LayerNorm):
        tensors["norm_before.weight"] = torch.ones_like(bias)
        tensors["norm_before.bias"] = torch.zeros_like(bias)
    return tensors


def _block_diagonal(matrices: Sequence[Tensor]) -> Tensor:
    """Return the matrix with these along its diagonal and zeros elsewhere."""
    width = sum(matrix.shape[1] for matrix in matrices)
    rows, start = [], 0
    for matrix in matrices:
        row = matrix.new_zeros(len(matrix), width)
        row[:, start : start + matrix.shape[1]] = matrix
        rows.append(row)
        start += matrix.shape[1]
    return torch.cat(rows)


def _without_norm(layer: BottleneckLayer, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return the first map with the weights of the norm before it multiplied in."""
    weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
    if isinstance(layer.norm_before, nn.LayerNorm):
        bias = bias + weight @ layer.norm_before.bias.detach().double()
        weight = weight * layer.norm_before.weight.detach().double()
    return weight, bias


def _widths(widths: Mapping[str, int], sites: SiteMap) -> dict[str, Any]:
    """Return the settings that give these inner widths."""
    if len(set(widths.values())) == 1:
        return {"inner_width": next(iter(widths.values())), "reduction": 4}
    reductions: dict[str, float] = {}
    for name, inner in widths.items():
        block, reduction = str(sites[name].block), sites[name].width / inner
        if reductions.setdefault(block, reduction) != reduction:
            raise AdapterError(
                f"blend(method='cat'): at {name!r} the joined width {inner} differs from that of "
                f"another site of block {block}, which a bottleneck cannot be told. Use linear."
            )
    return {"inner_width": None, "reduction": reductions}
