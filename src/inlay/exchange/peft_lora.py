"""LoRA in PEFT's files (Hu et al. 2021), with rsLoRA, DoRA and starts that change the base."""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from inlay.adapters.bank import Adapters
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig, value_for
from inlay.exchange.peft_modules import AtMap, at_maps
from inlay.exchange.peft_names import OF_MODULES, Named, Names, Parts
from inlay.methods.lora import LoRA
from inlay.ops.blending import nearest_low_rank
from inlay.sites.maps import base_map
from inlay.sites.sitemap import Site

_FOLLOWED = (
    "alpha_pattern",
    "bias",  # taken before the method is read
    "eva_config",  # how the factors began
    "exclude_modules",
    "fan_in_fan_out",  # how the base keeps its weight; the factors are the same either way
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "qalora_group_size",  # of use_qalora, which is refused
    "r",
    "rank_pattern",
    "target_modules",
    "use_dora",
    "use_rslora",
    "ensure_weight_tying",
)

_PLAIN_STARTS = ("gaussian", "eva", "orthogonal")
"""Ways to begin that leave the base's weights alone."""

_CHANGED_STARTS = ("pissa", "olora")
"""Ways to begin that take a part off the base's weights, which can be found again."""

_ONLY = {
    "init_lora_weights": lambda value: (
        value is None or isinstance(value, bool) or value in (*_PLAIN_STARTS, *_CHANGED_STARTS)
    ),
}

A, B, B_BIAS, LENGTHS = (
    ".lora_A.weight", ".lora_B.weight", ".lora_B.bias", ".lora_magnitude_vector"
)  # fmt: skip
TABLE_A, TABLE_B, TABLE = ".lora_embedding_A", ".lora_embedding_B", ".base_layer.weight"
"""The ends of names at a table; PEFT saves a whole table or LM head beside the factors at one."""


def read_lora(config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters) -> Parts:
    """Place the factors of a LoRA at the linear maps of a model.

    DoRA's magnitudes are the lengths of the base's rows plus what ours adds to them. With
    `init_lora_weights` "pissa" or "olora" PEFT takes a part of the base's weight off whenever it
    loads the file; the part is found again here, and the base is left as it is. "olora" is read
    as a LoRA of twice the rank, with the start as its negative half.

    Raises:
        FormatError: If an option has an effect we lack, or the file and the model do not fit.
    """
    config.check_options(_FOLLOWED, _ONLY)
    ends = [A, B, TABLE_A, TABLE_B]
    ends += [LENGTHS] if config.flag("use_dora") else []
    ends += [B_BIAS] if config.flag("lora_bias") else []
    tensors = _without_tables(config, tensors, adapters)
    maps = at_maps(config, tensors, adapters, ends, LoRA.kinds)
    sizes = {found.site.name: _sizes(config, found) for found in maps}
    named: Named = {}
    notes: list[str] = []
    for found in maps:
        factors = _factors(config, found, sizes[found.site.name][0])
        named |= _placed(config, found, factors, adapters, _scale(config, found))
    doubled = config.values.get("init_lora_weights") == "olora"
    if doubled:
        notes.append("the start by olora is a part of the factors, whose rank is twice the file's")
        sizes = {name: (2 * rank, 2 * alpha) for name, (rank, alpha) in sizes.items()}
    return Parts(
        method=_method(config, sizes, doubled=doubled),
        sites=[found.site.name for found in maps],
        tensors=named,
        notes=tuple(notes),
    )


def _sizes(config: PeftConfig, found: AtMap) -> tuple[int, float]:
    """Return the rank and the alpha of one map."""
    rank = value_for(config.pattern("rank_pattern"), found.path, config.whole("r", 8))
    if rank < 1 or rank != int(rank):
        raise config.refuse("rank_pattern", f"the rank of {found.path!r} must be a whole number.")
    alpha = config.number("lora_alpha", 8.0)
    return int(rank), value_for(config.pattern("alpha_pattern"), found.path, alpha)


def _scale(config: PeftConfig, found: AtMap) -> float:
    rank, alpha = _sizes(config, found)
    return alpha / (rank**0.5 if config.flag("use_rslora") else rank)


def _without_tables(
    config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters
) -> dict[str, Tensor]:
    """Leave out the base's own tables and LM head, which PEFT saves beside the factors at one.

    Raises:
        FormatError: If one is not the base's, which PEFT would overwrite.
    """
    rest = dict(tensors)
    heads = {site.module for site in adapters.sites if site.kind == "lm_head"}
    for key in [k for k in tensors if k.endswith(TABLE)]:
        start = key.removesuffix(TABLE)
        if not {f"{start}{TABLE_A}", f"{start}{A}"} & set(tensors):
            continue
        path = start.removeprefix(OF_MODULES)
        module = Names(config.path.parent, adapters.model, [path]).module(key, path)
        if f"{start}{TABLE_A}" not in tensors and module not in heads:
            continue
        own = adapters.model.get_parameter(f"{module}.weight").detach().cpu()
        given = rest.pop(key)
        if given.shape != own.shape or not torch.equal(given.to(own.dtype), own):
            raise FormatError(
                f"{config.path.parent}: tensor {key!r} is not this base's own table, and would "
                "overwrite it. Load the base that the adapter was trained on."
            )
    return rest


def ends_at(site: Site) -> tuple[str, str]:
    """Return how the factors at a site are named."""
    return (TABLE_A, TABLE_B) if site.kind == "embedding" else (A, B)


def _factors(config: PeftConfig, found: AtMap, rank: int) -> dict[str, Tensor]:
    """Return the factors of one map by our names, in at least float32."""
    folder, site = config.path.parent, found.site
    both = {}
    for ours, end, dim in zip("ab", ends_at(site), (0, 1), strict=True):
        tensor = found.tensors.get(end)
        if tensor is not None and tensor.ndim > 1 and tensor.shape[dim] != rank:
            raise FormatError(
                f"{folder}: tensor {found.key(end)!r} is of rank {tensor.shape[dim]}, but "
                f"{config.path.name} says {rank}."
            )
        shape = (rank, site.in_width or 0) if ours == "a" else (site.width, rank)
        if tensor is not None and site.kind == "kernel" and tensor.ndim > 2:
            # The kernel's own dimensions, behind the channels.
            found = dataclasses.replace(found, tensors={**found.tensors, end: tensor.flatten(1)})
        both[ours] = _exact(found.take(end, *shape))
    return both


def _placed(
    config: PeftConfig,
    found: AtMap,
    factors: dict[str, Tensor],
    adapters: Adapters,
    scale: float,
) -> Named:
    """Return what one map gets, by our names."""
    start, weight = f"site/{found.site.name}", None
    keys = {ours: found.key(end) for ours, end in zip("ab", ends_at(found.site), strict=True)}
    begin = config.values.get("init_lora_weights")
    if config.flag("use_dora") or begin in _CHANGED_STARTS:
        weight = _weight(config, found, adapters)
    if weight is not None and begin in _CHANGED_STARTS:
        factors = _with_start(str(begin), weight, factors, scale)
    if weight is not None and config.flag("use_dora"):
        lengths = _exact(found.take(LENGTHS, found.site.width))
        factors["magnitude"] = lengths - torch.linalg.vector_norm(weight, dim=1)
        keys["magnitude"] = found.key(LENGTHS)
    named: Named = {
        f"{start}/{name}": (keys.get(name, keys["a"]), tensor) for name, tensor in factors.items()
    }
    if config.flag("lora_bias"):
        named |= _bias(config, found, adapters, scale)
    return named


def _weight(config: PeftConfig, found: AtMap, adapters: Adapters) -> Tensor:
    """Return the base's own weight at a map, which some variants compute with."""
    weight = base_map(found.site, adapters.model)
    if weight is None:
        raise FormatError(
            f"{config.path.parent}: the LoRA at {found.path!r} is of a kind that computes with the "
            "map's own weight, and the module there has none (it may be quantised)."
        )
    return _exact(weight()).cpu()


def _with_start(
    begin: str, weight: Tensor, factors: dict[str, Tensor], scale: float
) -> dict[str, Tensor]:
    """Add what the update is measured from: what PEFT takes off the base's weight."""
    rank = len(factors["a"])
    if begin == "pissa":
        fit = nearest_low_rank(weight, rank)
        return {**factors, "a_start": fit.down / scale**0.5, "b_start": fit.up / scale**0.5}
    q, r = torch.linalg.qr(weight)
    down = torch.cat([factors["a"], r[:rank]])
    return {"a": down, "b": torch.cat([factors["b"], -q[:, :rank]], dim=1)}


def _bias(config: PeftConfig, found: AtMap, adapters: Adapters, scale: float) -> Named:
    """Return the copy of a map's bias that holds what `B`'s own bias adds to it."""
    path = f"{found.site.module}.bias"
    module = adapters.model.get_submodule(found.site.module)
    bias = getattr(module, "bias", None)
    if bias is None or config.flag("use_dora"):
        why = f"{found.path!r} has no bias that could take it up"
        raise config.refuse("lora_bias", "not with use_dora." if bias is not None else f"{why}.")
    added = _exact(found.take(B_BIAS, found.site.width))
    return {f"weight/{path}": (found.key(B_BIAS), _exact(bias.detach().cpu()) + scale * added)}


def _method(config: PeftConfig, sizes: Mapping[str, tuple[int, float]], *, doubled: bool) -> LoRA:
    """Return the settings; ranks and alphas of some maps only are named by site."""
    factor = 2 if doubled else 1
    rank = factor * config.whole("r", 8)
    alpha = factor * config.number("lora_alpha", 8.0)
    # Twice the rank takes twice the alpha, but under a root only as much more.
    root = config.flag("use_rslora")
    if doubled and root:
        alpha /= 2**0.5
        sizes = {name: (r, a / 2**0.5) for name, (r, a) in sizes.items()}
    if not any(pair == (rank, alpha) for pair in sizes.values()):
        rank, alpha = next(iter(sizes.values()))
    return LoRA(
        rank=rank,
        alpha=alpha,
        dropout=config.number("lora_dropout", 0.0),
        scale="alpha/sqrt(rank)" if root else "alpha/rank",
        ranks={name: r for name, (r, _) in sizes.items() if r != rank} or None,
        alphas={name: a for name, (_, a) in sizes.items() if a != alpha} or None,
        init="pissa" if config.values.get("init_lora_weights") == "pissa" else "kaiming",
        magnitude=config.flag("use_dora"),
    )


def _exact(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
