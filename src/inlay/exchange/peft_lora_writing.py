"""Write a LoRA as PEFT does."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn

from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_lora import LENGTHS, ends_at
from inlay.exchange.peft_names import OF_MODULES, targets_for
from inlay.methods.lora import LoRA
from inlay.methods.lora_layer import LoRALayer
from inlay.sites.sitemap import Site

Number = TypeVar("Number", int, float)


@final
@dataclass(frozen=True, slots=True)
class Update:
    """What is written for one map: `scale * b a`."""

    site: Site
    a: Tensor
    b: Tensor
    scale: float


def write_lora(
    adapters: Adapters, entry: Entry, *, uniform: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the options and tensors of a LoRA as PEFT writes them.

    A start that is taken off again (PiSSA) is written as a second half of the factors, so that the
    file acts on the base as it is, as PEFT's own conversion does.

    Args:
        adapters: Whose sites say which module each layer is at.
        entry: The adapter.
        uniform: Give all modules one rank and one scale, for readers without patterns.
    """
    found: dict[str, Update] = {}
    lengths: dict[str, Tensor] = {}
    for site, layer in entry.layers.items():
        if not isinstance(layer, LoRALayer):
            raise FormatError(f"site {site!r}: {type(layer).__name__} has no form in PEFT's LoRA.")
        path = adapters.sites[site].module
        down, up = layer.factors()
        found[path] = Update(adapters.sites[site], down.detach(), up.detach(), layer.scale)
        weight = layer.base_weight()
        if layer.magnitude is not None and weight is not None:
            rows = weight.to(layer.magnitude.dtype).square().sum(1).sqrt()
            lengths[path] = rows + layer.magnitude.detach()
    if uniform:
        found = _uniform(found)
    tensors = {f"{OF_MODULES}{path}{LENGTHS}": rows for path, rows in lengths.items()}
    for path, update in found.items():
        tensors |= _tensors(f"{OF_MODULES}{path}", update, adapters.model.get_submodule(path))
    is_root = getattr(entry.method, "scale", "") == "alpha/sqrt(rank)" and not uniform
    linear = [adapters.model.get_submodule(p) for p, u in found.items() if u.site.is_linear]
    options = {
        "bias": "none",
        "fan_in_fan_out": bool(linear) and not any(isinstance(m, nn.Linear) for m in linear),
        "init_lora_weights": True,
        "lora_dropout": entry.method.dropout if isinstance(entry.method, LoRA) else 0.0,
        "target_modules": targets_for(list(found), adapters.model),
        "use_dora": bool(lengths),
        "use_rslora": is_root,
        **_sizes(found, is_root=is_root),
    }
    return options, tensors


def _tensors(start: str, update: Update, module: nn.Module) -> dict[str, Tensor]:
    """Return the factors at one map in the form of its module."""
    a, b = update.a, update.b
    if update.site.kind == "kernel":
        shape = module.get_parameter("weight").shape
        a, b = a.view(len(a), *shape[1:]), b.view(*b.shape, *(1 for _ in shape[2:]))
    ends = ends_at(update.site)
    return {f"{start}{ends[0]}": a, f"{start}{ends[1]}": b}


def _sizes(found: Mapping[str, Update], *, is_root: bool) -> dict[str, Any]:
    """Return ranks and alphas, the most frequent ones first and the others by module."""
    ranks = {path: update.a.shape[0] for path, update in found.items()}
    alphas = {
        path: _plain(update.scale * (ranks[path] ** 0.5 if is_root else ranks[path]))
        for path, update in found.items()
    }
    rank, alpha = _commonest(ranks), _commonest(alphas)
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {_exactly(path): r for path, r in ranks.items() if r != rank},
        "alpha_pattern": {_exactly(path): a for path, a in alphas.items() if a != alpha},
    }


def _uniform(found: Mapping[str, Update]) -> dict[str, Update]:
    """Fill smaller ranks up with zeros and put the ratio of scales into `B`: the same updates."""
    rank = max(update.a.shape[0] for update in found.values())
    common = max((update.scale for update in found.values()), key=abs)
    result = {}
    for path, update in found.items():
        more = rank - update.a.shape[0]
        a = torch.nn.functional.pad(update.a, (0, 0, 0, more))
        b = torch.nn.functional.pad(update.b, (0, more))
        same = update.scale == common or common == 0
        result[path] = Update(update.site, a, b if same else b * (update.scale / common), common)
    return result


def _commonest(numbers: Mapping[str, Number]) -> Number:
    return Counter(numbers.values()).most_common(1)[0][0]


def _plain(number: float) -> float:
    """Return a number that is whole but for rounding as such, as most files have it."""
    near = round(number)
    return near if abs(number - near) <= 1e-12 * abs(near) else number


def _exactly(path: str) -> str:
    """Return the pattern that no other module's path fits."""
    return f"^{re.escape(path)}"
