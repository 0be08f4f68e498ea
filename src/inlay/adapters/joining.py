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
from inlay.methods.lora import LoRA, LoRALayer
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


def blend_lora(entries: Sequence[Entry], recipe: Recipe) -> Blended:
    """Blend the updates `scale * B A` of linear maps; `A` and `B` by themselves mean nothing.

    The result is brought to the rank asked for, by default the sum of the ranks, which loses
    nothing of a weighted sum; `cat` sets the factors side by side, without a decomposition.
    """
    methods = [cast(LoRA, entry.method) for entry in entries]
    rank = recipe.rank or sum(method.rank for method in methods)
    fits = {}
    for site in entries[0].layers:
        factors = [_factors(cast(LoRALayer, entry.layers[site])) for entry in entries]
        fits[site] = _blended_update(factors, recipe, site, rank)
    tensors = {f"site/{site}/b": fit.up for site, fit in fits.items()}
    tensors |= {f"site/{site}/a": fit.down for site, fit in fits.items()}
    # The scale, alpha / rank, is 1: it is in the factors already.
    return Blended(
        replace(methods[0], rank=rank, alpha=float(rank)),
        tensors,
        {site: _relative(fit.lost, fit.total) for site, fit in fits.items()},
        _relative(sum(f.lost for f in fits.values()), sum(f.total for f in fits.values())),
    )


def _factors(layer: LoRALayer) -> tuple[Tensor, Tensor]:
    return layer.b.detach().double() * layer.scale, layer.a.detach().double()


def _blended_update(
    factors: Sequence[tuple[Tensor, Tensor]], recipe: Recipe, site: str, rank: int
) -> LowRankFit:
    if recipe.density is not None:
        return nearest_low_rank(recipe.mix([up @ down for up, down in factors], site), rank)
    weights = [weight * recipe.scaling for weight in recipe.used.values()]
    ups = [up * weight for (up, _), weight in zip(factors, weights, strict=True)]
    up, down = torch.cat(ups, dim=1), torch.cat([down for _, down in factors])
    if recipe.way == "cat":
        return LowRankFit(up, down, 0.0, 1.0)
    return nearest_low_rank_of_product(up, down, rank)


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
