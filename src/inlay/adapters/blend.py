"""`inlay.blend`: a new adapter on a model, made of the weights of others.

LoRA is blended by what it does, the change `D` of a linear map's weight (`scale * B A`), in
float64; the result is brought to `rank` by a singular value decomposition, and what that leaves out
is told: nothing of a weighted sum at the default, the sum of the ranks (twice that of a PiSSA).
A sum with DoRAs in it is a DoRA. Adapters of other methods are blended weight by weight.

- `linear`: `sum w_i D_i`. Other methods: the weighted mean of the parameters, whose weights
  must add up to 1; it is not the mean of the updates.
- `svd`: the same for LoRA, at a rank that must be given; of one adapter, its compression.
- `cat`: `sum w_i D_i` exactly, with the sum of the ranks. Bottlenecks are set side by side,
  which gives exactly the weighted sum of their updates on one input.
- `task-arithmetic`: `scaling * sum w_i T_i` (Ilharco et al. 2023, arXiv:2212.04089).
- `ties`: Yadav et al. 2023 (arXiv:2306.01708); weights are relative. Entries are trimmed map
  by map, not over the whole adapter as in the paper, so that one map is in memory at a time.
- `dare`: Yu et al. 2023 (arXiv:2311.03099): the thinned `T_i` in a weighted sum.

A task vector `T_i` is the update for LoRA, the difference to the base's own weights for
`full` and `top`, and else the difference to `origin`, an adapter that they were all trained
from: adapters that started at random have no common zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from inlay.adapters.attach import adapters_of
from inlay.adapters.bank import Adapters
from inlay.adapters.blended_heads import Heads, blended_heads
from inlay.adapters.entry import Entry
from inlay.adapters.joining import Blended, blend_lora, join_bottlenecks
from inlay.adapters.recipe import Recipe, Way, weighted_parts
from inlay.errors import AdapterError, ConfigError
from inlay.methods.base import AbstractMethod, AbstractWeightMethod
from inlay.methods.bottleneck import Bottleneck
from inlay.methods.lora import LoRA
from inlay.methods.lora_layer import LoRALayer

_WIDTHS = frozenset({"rank", "inner_width", "reduction", "scaling"})
_TRAINING = frozenset({"dropout", "init"})
"""Settings that do not change what a trained adapter does."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Blend:
    """What a blend was made of, and how near it is to what was asked for."""

    name: str
    """The new adapter."""
    recipe: dict[str, Any]
    """Way, weights and settings, as plain data."""
    heads: str
    """Where the heads are from."""
    errors: dict[str, float]
    """LoRA: site -> what its rank leaves out of the update, relative (Frobenius norm)."""
    error: float
    """The same over all sites; 0 where nothing is left out."""

    def record(self) -> dict[str, Any]:
        """Return what is kept beside the saved adapter, under `blend` in its card."""
        return {**self.recipe, "heads": self.heads, "error": self.error}


def blend(
    model: nn.Module,
    name: str,
    parts: Mapping[str, float] | Sequence[str],
    *,
    method: Way = "linear",
    rank: int | None = None,
    density: float | None = None,
    scaling: float = 1.0,
    seed: int = 0,
    origin: str | None = None,
    heads: Heads = "same",
    head_of: str | None = None,
) -> Blend:
    """Make a new, inactive adapter out of others on this model, which stay as they are.

    If one adapter is left whose weight does not change it, the result is that adapter bit for
    bit, whatever the method. An adapter of weight 0 takes no part.

    Args:
        model: A model with adapters.
        name: The new adapter's name.
        parts: Adapter -> weight; or names, with weight 1 each for task-arithmetic and equal
            weights that add up to 1 otherwise.
        method: One of those that this module's text explains.
        rank: Of the new LoRA; by default the sum of the ranks.
        density: Share of the entries that ties and dare keep, in (0, 1].
        scaling: Multiplies the result of task-arithmetic, ties and dare.
        seed: For dare.
        origin: The adapter that task vectors are differences to.
        heads: `"same"` keeps heads that are equal, `"average"` averages heads for the same labels
            in the same order, `"leave-out"` keeps none.
        head_of: The adapter whose heads are taken.

    Returns:
        What was done, which `inlay.save` also writes into the card.

    Raises:
        ConfigError: If a setting is not allowed or has no effect.
        AdapterError: If a name is unknown or taken, or the adapters cannot be blended so.
    """
    adapters = adapters_of(model)
    recipe = Recipe(
        way=method, parts=weighted_parts(parts, method), rank=rank, density=density,
        scaling=scaling, seed=seed,
    )  # fmt: skip
    named = {part: adapters.entry(part) for part in recipe.parts}
    entries = [named[part] for part in recipe.used]
    start = None if origin is None else adapters.entry(origin)
    _check(entries if start is None else [*entries, start], recipe)
    blended = _blended(adapters, entries, recipe, start)
    chosen = None if head_of is None else adapters.entry(head_of)
    head, own, where = blended_heads(entries, list(recipe.used.values()), heads, chosen)
    settings = recipe.settings() | ({} if origin is None else {"origin": origin})
    made = Blend(
        name=name, recipe=settings, heads=where, errors=blended.errors, error=blended.error
    )
    _add(adapters, made, blended, entries, head, own)
    return made


def _add(
    adapters: Adapters,
    made: Blend,
    blended: Blended,
    entries: Sequence[Entry],
    head: nn.Module | None,
    own_heads: Mapping[str, Tensor],
) -> None:
    """Put the new adapter on the model, or leave the model as it was."""
    sites = list(entries[0].layers) if entries[0].placement is not None else None
    copies = any(key.startswith("own_head/") for key in own_heads)
    entry = adapters.add(
        made.name, blended.method, at=sites, head=head, copy_heads=copies, fresh=False,
        stack_on=entries[0].stack_on,
    )  # fmt: skip
    try:
        _fill(entry, {**blended.tensors, **own_heads})
    except Exception:
        adapters.remove(made.name)
        raise
    if len({part.placement for part in entries}) == 1:
        entry.placement = entries[0].placement
    entry.blend = made.record()


def _check(entries: Sequence[Entry], recipe: Recipe) -> None:
    """Refuse adapters that have nothing in common to blend."""
    first = entries[0]
    for entry in entries:
        if entry.combines is not None:
            raise AdapterError(
                f"blend: {entry.name!r} holds the learned weights of {entry.combines}, which mean "
                "nothing without its adapters; blend adapters only."
            )
        if entry.layers and entry.weights:
            raise AdapterError(
                f"blend: {entry.name!r} has copies of base weights beside its layers, for example "
                f"of {next(iter(entry.weights))!r}, and there is no one way to blend both. Use "
                "adapters without such copies."
            )
        if entry.stack_on != first.stack_on:
            raise AdapterError(
                f"blend: {first.name!r} is stacked on {first.stack_on!r} and {entry.name!r} on "
                f"{entry.stack_on!r}; only adapters above the same one, or above none, have "
                "updates that can be added up."
            )
        if type(entry.method) is not type(first.method):
            raise AdapterError(
                f"blend: {first.name!r} is of method {first.method.name!r} and {entry.name!r} of "
                f"{entry.method.name!r}. Only adapters of one method can be blended; to run "
                "different ones together use inlay.Average or inlay.Stack."
            )
        if set(entry.layers) != set(first.layers) or set(entry.weights) != set(first.weights):
            own, other = {*first.layers, *first.weights}, {*entry.layers, *entry.weights}
            raise AdapterError(
                f"blend: {first.name!r} and {entry.name!r} act at different places, for example "
                f"only one of them at {min(own ^ other)!r}. Train them with the same at, layers "
                "and submodel, or use inlay.Average."
            )
        _check_settings(first, entry, recipe)


def _check_settings(first: Entry, entry: Entry, recipe: Recipe) -> None:
    if _is_matrix(first.method) and _is_matrix(entry.method):
        return  # whatever the settings, what it does is the change of a weight
    free = _TRAINING | (_WIDTHS if recipe.way == "cat" else _WIDTHS - {"scaling"})
    ours, theirs = first.method.settings(), entry.method.settings()
    for key, value in ours.items():
        if key not in free and theirs[key] != value:
            raise AdapterError(
                f"blend: {first.name!r} has {key}={value!r} and {entry.name!r} has "
                f"{key}={theirs[key]!r}; adapters that are blended must compute alike."
            )


def _blended(
    adapters: Adapters, entries: Sequence[Entry], recipe: Recipe, origin: Entry | None
) -> Blended:
    """Return the new adapter's method and weights."""
    method = entries[0].method
    is_lora = _is_matrix(method)
    if recipe.way == "svd" and not is_lora:
        raise _no_factors(method, recipe.way)
    if recipe.rank is not None and not is_lora:
        raise ConfigError(f"blend(rank={recipe.rank}): rank is for lora, not {method.name!r}.")
    if origin is not None and (is_lora or recipe.way in ("linear", "svd", "cat")):
        what = "lora starts at the base" if is_lora else f"{recipe.way!r} needs none"
        raise ConfigError(f"blend(origin={origin.name!r}): {what}; leave origin out.")
    if recipe.identity is not None and recipe.rank in (None, _rank(entries[0])):
        return Blended(method, _acting(entries[0]), {}, 0.0)
    if is_lora:
        with adapters.original_weights():
            return blend_lora(entries, recipe)
    if recipe.way == "cat" and isinstance(method, Bottleneck) and method.gate is False:
        return join_bottlenecks(entries, recipe, adapters.sites)
    if recipe.way == "cat":
        raise _no_factors(method, recipe.way)
    return _blend_parameters(adapters, entries, recipe, origin)


def _is_matrix(method: AbstractMethod) -> bool:
    """Tell whether an adapter is the change of a weight, which a gate makes differ by input."""
    return isinstance(method, LoRA) and method.gate is False


def _rank(entry: Entry) -> int | None:
    """Return the largest rank of a LoRA's layers."""
    layers = entry.layers.values()
    return max((len(x.a) for x in layers if isinstance(x, LoRALayer)), default=None)


def _no_factors(method: AbstractMethod, way: str) -> AdapterError:
    return AdapterError(
        f"blend(method={way!r}): {method.name!r} is no product of two factors to join or cut; svd "
        "is for lora, cat for lora and bottleneck, both without a gate. Use linear, or "
        "inlay.Average, which runs the adapters and averages their updates."
    )


def _blend_parameters(
    adapters: Adapters, entries: Sequence[Entry], recipe: Recipe, origin: Entry | None
) -> Blended:
    method = entries[0].method
    if recipe.way == "linear":
        if abs(sum(recipe.used.values()) - 1) > 1e-6:
            raise ConfigError(
                f"blend: the weights add up to {sum(recipe.used.values()):g}. Parameters of "
                f"{method.name!r} can only be averaged, so weights must add up to 1"
                + ("; cat takes any weights." if isinstance(method, Bottleneck) else ".")
            )
        start: dict[str, Tensor] = {}
    else:
        start = _start(adapters, method, entries[0], origin, recipe.way)
    each = [_acting(entry) for entry in entries]
    for entry, own in zip(entries, each, strict=True):
        _check_shapes(entries[0], each[0], entry, own)
    if origin is not None:
        _check_shapes(entries[0], each[0], origin, start)
    tensors: dict[str, Tensor] = {}
    for key in each[0]:
        values = [own[key].double() for own in each]
        zero = start[key].to(values[0]) if start else torch.zeros_like(values[0])
        tensors[key] = zero + recipe.mix([value - zero for value in values], key)
    return Blended(method, tensors, {}, 0.0)


def _check_shapes(
    first: Entry, ours: Mapping[str, Tensor], entry: Entry, theirs: Mapping[str, Tensor]
) -> None:
    for key, tensor in ours.items():
        if theirs[key].shape != tensor.shape:
            raise AdapterError(
                f"blend: {key!r} is {tuple(tensor.shape)} in {first.name!r} and "
                f"{tuple(theirs[key].shape)} in {entry.name!r}; parameters of different shapes "
                "cannot be blended"
                + ("; cat sets them side by side." if isinstance(first.method, Bottleneck) else ".")
            )


def _start(
    adapters: Adapters, method: AbstractMethod, first: Entry, origin: Entry | None, way: str
) -> dict[str, Tensor]:
    """Return the weights that training began with."""
    if isinstance(method, AbstractWeightMethod):
        if origin is not None:
            raise ConfigError(
                f"blend(origin={origin.name!r}): {method.name!r} starts at the base; leave it out."
            )
        with adapters.original_weights():
            return {
                f"weight/{path}": adapters.model.get_parameter(path).detach()
                for path in first.weights
            }
    if origin is None:
        raise AdapterError(
            f"blend(method={way!r}): {way} adds up differences to the weights that training began "
            f"with, and adapters of method {method.name!r} begin at random. Name the adapter that "
            f"all of them were trained from: origin=NAME. Otherwise use linear{_or_cat(method)}."
        )
    return _acting(origin)


def _or_cat(method: AbstractMethod) -> str:
    return ", or cat for the weighted sum of updates" if isinstance(method, Bottleneck) else ""


def _acting(entry: Entry) -> dict[str, Tensor]:
    """Return the weights that act in the base, without those of heads."""
    return {
        key: tensor.detach()
        for key, tensor in entry.tensors().items()
        if key.startswith(("site/", "weight/"))
    }


def _fill(entry: Entry, tensors: Mapping[str, Tensor]) -> None:
    """Copy the new weights in, every one of them."""
    own = entry.tensors()
    if own.keys() != tensors.keys():
        odd = min(own.keys() ^ tensors.keys())
        raise AdapterError(f"blend: tensor {odd!r} has no counterpart; were the heads changed?")
    with torch.no_grad():
        for key, tensor in tensors.items():
            own[key].copy_(tensor.view_as(own[key]))
