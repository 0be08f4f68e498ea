"""LoRA in PEFT's files (Hu et al. 2021; rsLoRA: Kalajdzievski 2023, arXiv:2312.03732)."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig, value_for
from inlay.exchange.peft_names import (
    OF_MODULES,
    Names,
    Parts,
    linear_sites,
    not_used,
    targets_for,
)
from inlay.methods.lora import LoRA
from inlay.methods.lora_layer import LoRALayer

Number = TypeVar("Number", int, float)

_FOLLOWED = (
    "alpha_pattern",
    "eva_config",  # how the factors began
    "exclude_modules",
    "fan_in_fan_out",  # how the base keeps its weight; the factors are the same either way
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "qalora_group_size",  # of use_qalora, which is refused
    "r",
    "rank_pattern",
    "target_modules",
    "use_rslora",
    "ensure_weight_tying",
)

_PLAIN_STARTS = ("gaussian", "eva", "orthogonal")
"""Ways to begin that leave the base's weights alone; others, such as pissa, change the base."""

_ONLY = {
    "bias": lambda value: value in (None, "none"),
    "init_lora_weights": lambda value: (
        value is None or isinstance(value, bool) or value in _PLAIN_STARTS
    ),
}

_A, _B = ".lora_A.weight", ".lora_B.weight"


def read_lora(config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters) -> Parts:
    """Place the factors of a LoRA at the linear maps of a model.

    Ranks and scales that differ by module become one: smaller ranks are filled up with zeros and
    the ratio of scales goes into `B`, which changes no update.

    Raises:
        FormatError: If an option has an effect we lack, or the file and the model do not fit.
    """
    config.check_options(_FOLLOWED, _ONLY)
    folder = config.path.parent
    factors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        path, suffix = _split(key)
        if path is None:
            raise not_used(folder, key, adapters)
        factors.setdefault(path, {})[suffix] = tensor
    names = Names(folder, adapters.model, list(factors))
    targets = _targets(config, names)
    sites = linear_sites(adapters)
    found: dict[str, tuple[str, Tensor, Tensor, float]] = {}
    for path, pair in factors.items():
        key = f"{OF_MODULES}{path}{_A}"
        module = names.module(key, path)
        if targets is not None and path not in targets:
            raise not_used(folder, key, adapters)
        if module not in sites:
            raise FormatError(
                f"{folder}: tensor {key!r} is for {module!r}, which is no linear map that was "
                "found on this model; `inlay sites` shows those there are."
            )
        a, b, scale = _checked(config, path, pair)
        found[sites[module].name] = path, a, b, scale
    for path in sorted(targets or ()):
        if path not in factors:
            raise FormatError(
                f"{folder}: target_modules names {path!r}, but tensor "
                f"{OF_MODULES + path + _A!r} is missing; the file is incomplete."
            )
    if not found:
        raise FormatError(f"{folder}: there is no LoRA in the file.")
    return _parts(config, found)


def _split(key: str) -> tuple[str | None, str]:
    for suffix in (_A, _B):
        if key.startswith(OF_MODULES) and key.endswith(suffix):
            return key.removeprefix(OF_MODULES).removesuffix(suffix), suffix
    return None, ""


def _targets(config: PeftConfig, names: Names) -> set[str] | None:
    """Return the paths that the configuration names; `None` if it leaves that to the file."""
    wanted = config.values.get("target_modules")
    if wanted is None or wanted == "all-linear":
        return None
    saved = config.words("modules_to_save")
    return {
        path
        for path in names.paths
        if config.names_module("target_modules", path)
        and not config.names_module("exclude_modules", path)
        and not any(word in _parents(path) for word in saved)
        and (isinstance(wanted, str) or path in wanted or config.in_layers(path))
    }


def _parents(path: str) -> set[str]:
    """Return every run of parts of a path: `a.b` gives `a`, `b` and `a.b`."""
    parts = path.split(".")
    numbers = range(len(parts) + 1)
    return {".".join(parts[i:j]) for i in numbers for j in numbers if i < j}


def _checked(
    config: PeftConfig, path: str, pair: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, float]:
    """Return the two factors and the scale of one module."""
    folder = config.path.parent
    for suffix in (_A, _B):
        if suffix not in pair:
            raise FormatError(
                f"{folder}: tensor {OF_MODULES + path + suffix!r} is missing; the file is "
                "incomplete."
            )
        if pair[suffix].ndim != 2:
            raise FormatError(
                f"{folder}: tensor {OF_MODULES + path + suffix!r} has {pair[suffix].ndim} "
                "dimensions; a linear map's factors have 2."
            )
    # In at least float32 before scales are evened out, which half precision would round.
    a, b = (pair[x].to(torch.promote_types(pair[x].dtype, torch.float32)) for x in (_A, _B))
    rank = int(value_for(config.pattern("rank_pattern"), path, config.whole("r", 8)))
    if a.shape[0] != rank or b.shape[1] != rank:
        raise FormatError(
            f"{folder}: the factors of {path!r} have ranks {a.shape[0]} and {b.shape[1]}, but "
            f"{config.path.name} says {rank}."
        )
    alpha = value_for(config.pattern("alpha_pattern"), path, config.number("lora_alpha", 8.0))
    return a, b, alpha / (rank**0.5 if config.flag("use_rslora") else rank)


def _parts(config: PeftConfig, found: dict[str, tuple[str, Tensor, Tensor, float]]) -> Parts:
    uniform = _uniform({site: (a, b, scale) for site, (_, a, b, scale) in found.items()})
    placed: dict[str, tuple[str, Tensor]] = {}
    for site, (path, *_) in found.items():
        placed[f"site/{site}/a"] = OF_MODULES + path + _A, uniform[site][0]
        placed[f"site/{site}/b"] = OF_MODULES + path + _B, uniform[site][1]
    a, _, scale = next(iter(uniform.values()))
    rank = a.shape[0]
    method = LoRA(rank=rank, alpha=scale * rank, dropout=config.number("lora_dropout", 0.0))
    return Parts(method=method, sites=list(found), tensors=placed)


def write_lora(
    adapters: Adapters, entry: Entry, *, uniform: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the options and tensors of a LoRA as PEFT writes them.

    Args:
        adapters: Whose sites say which module each layer is at.
        entry: The adapter.
        uniform: Give all modules one rank and one scale, for readers without patterns.
    """
    found: dict[str, tuple[Tensor, Tensor, float]] = {}
    for site, layer in entry.layers.items():
        if not isinstance(layer, LoRALayer):
            raise FormatError(f"site {site!r}: {type(layer).__name__} has no form in PEFT's LoRA.")
        found[adapters.sites[site].module] = layer.a.detach(), layer.b.detach(), layer.scale
    if uniform:
        found = _uniform(found)
    ranks = {path: a.shape[0] for path, (a, _, _) in found.items()}
    alphas = {path: scale * ranks[path] for path, (_, _, scale) in found.items()}
    rank, alpha = _commonest(ranks), _commonest(alphas)
    modules = [adapters.model.get_submodule(path) for path in found]
    options = {
        "bias": "none",
        "fan_in_fan_out": not any(isinstance(module, nn.Linear) for module in modules),
        "init_lora_weights": True,
        "r": rank,
        "lora_alpha": _plain(alpha),
        "lora_dropout": getattr(entry.method, "dropout", 0.0),
        "rank_pattern": {_exactly(p): r for p, r in ranks.items() if r != rank},
        "alpha_pattern": {_exactly(p): _plain(a) for p, a in alphas.items() if a != alpha},
        "target_modules": targets_for(list(found), adapters.model),
    }
    tensors = {}
    for path, (a, b, _) in found.items():
        tensors[f"{OF_MODULES}{path}{_A}"], tensors[f"{OF_MODULES}{path}{_B}"] = a, b
    return options, tensors


def _uniform(
    found: Mapping[str, tuple[Tensor, Tensor, float]],
) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Fill smaller ranks up with zeros and put the ratio of scales into `B`: the same updates."""
    rank = max(a.shape[0] for a, _, _ in found.values())
    common = max((scale for _, _, scale in found.values()), key=abs)
    result = {}
    for path, (a, b, scale) in found.items():
        full_a, full_b = a.new_zeros(rank, a.shape[1]), b.new_zeros(b.shape[0], rank)
        full_a[: a.shape[0]] = a
        full_b[:, : b.shape[1]] = b if scale == common else b * (scale / common)
        result[path] = full_a, full_b, common
    return result


def _commonest(numbers: Mapping[str, Number]) -> Number:
    return Counter(numbers.values()).most_common(1)[0][0]


def _plain(number: float) -> float:
    """Return a whole number as such, as most files have it."""
    return int(number) if number == int(number) else number


def _exactly(path: str) -> str:
    """Return the pattern that no other module's path fits."""
    return f"^{re.escape(path)}"
