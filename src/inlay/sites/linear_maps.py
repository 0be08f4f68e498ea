"""Find the maps of a sublayer and tell their roles: q, k, v, o, up, gate, down, or kernel."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import nn

from inlay.sites.listen import Event
from inlay.sites.maps import is_convolution

_ROLES = {
    "q": "q", "query": "q",
    "k": "k", "key": "k",
    "v": "v", "value": "v",
    "qkv": "qkv", "kv": "kv",
}  # fmt: skip
"""Words in a module's own name that say what an attention's map is for."""


@final
@dataclass(frozen=True, slots=True)
class LinearMap:
    """A module that multiplies its input, or the patches of it, by a matrix."""

    module: str
    role: str
    in_width: int
    out_width: int
    channel_dim: int = -1
    """Dimension of its output's channels."""


@final
@dataclass(slots=True)
class _Call:
    """One call of a linear map: its two events."""

    before: Event
    after: Event

    @property
    def name(self) -> str:
        return self.before.module

    @property
    def widths(self) -> tuple[int, int]:
        return self.before.tensor.shape[-1], self.after.tensor.shape[-1]


def linear_maps(
    kind: str, events: Sequence[Event], modules: dict[str, nn.Module]
) -> list[LinearMap]:
    """List the linear maps of one sublayer with their roles.

    Args:
        kind: The sublayer's kind.
        events: What happened between stream and update, in order.
        modules: All modules of the model by path.
    """
    calls = [
        _Call(before, after)
        for before, after in pairwise(events)
        if (before.point, after.point) == ("in", "out")
        and before.module == after.module
        and is_linear(modules[before.module], before, after)
    ]
    if kind in ("attention", "cross_attention"):
        roles = _attention_roles(calls)
    elif kind in ("ffn", "conv"):
        roles = _feed_forward_roles(calls, events)
    else:
        roles = _mixer_roles(calls)
    found: dict[str, LinearMap] = {}
    for call, role in zip(calls, roles, strict=True):
        found.setdefault(call.name, LinearMap(call.name, role, *call.widths))
    return list(found.values())


def convolutions(events: Sequence[Event], modules: Mapping[str, nn.Module]) -> list[LinearMap]:
    """List the plain convolutions of all channels among some events."""
    found: dict[str, LinearMap] = {}
    for before, after in pairwise(events):
        path = before.module
        is_call = (before.point, after.point, after.module) == ("in", "out", path)
        if not (is_call and is_convolution(modules[path])):
            continue
        weight = modules[path].get_parameter("weight")
        if after.tensor.ndim == weight.ndim:  # else there is no batch
            kernel = LinearMap(path, "kernel", weight[0].numel(), len(weight), channel_dim=1)
            found.setdefault(path, kernel)
    return list(found.values())


def is_linear(module: nn.Module, before: Event, after: Event) -> bool:
    """Tell whether a leaf multiplied its input by its weight (either way round) plus a bias."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, nn.Parameter) or weight.ndim != 2:
        return False
    if isinstance(module, nn.Linear):
        return True
    x, y = before.value.detach().double(), after.value.detach().double()
    if {x.shape[-1], y.shape[-1]} != set(weight.shape):
        return False
    bias = getattr(module, "bias", None)
    y = y if bias is None else y - bias.detach().double()
    for matrix in (weight, weight.T):
        if matrix.shape[0] == x.shape[-1]:
            product = x @ matrix.detach().double()
            if product.shape == y.shape and torch.allclose(product, y, rtol=1e-2, atol=1e-4):
                return True
    return False


def _attention_roles(calls: list[_Call]) -> list[str]:
    """The last map is `o`; the others by their names, or q, k, v by order if there are three."""
    if not calls:
        return []
    roles = [_role_by_name(call.name) for call in calls[:-1]]
    unknown = [index for index, role in enumerate(roles) if role == "other"]
    # Three times as wide as what comes out of the heads; what is beside it is of positions.
    fused = [i for i in unknown if calls[i].widths[1] == 3 * calls[-1].widths[0]]
    if len(roles) == 1 and unknown:
        roles = ["qkv"]
    elif len(fused) == 1 and len(unknown) == len(roles):
        roles[fused[0]] = "qkv"
    elif len(roles) == 3 and len(unknown) == 3:
        roles = ["q", "k", "v"]
    elif len(roles) == 2 and len(unknown) == 1 and "q" in roles:
        roles[unknown[0]] = "kv"
    return [*roles, "o"]


def _role_by_name(path: str) -> str:
    leaf = path.rsplit(".", 1)[-1].lower()
    if {"query", "key", "value"} <= set(leaf.split("_")):
        return "qkv"
    words = [re.sub(r"^w(?=(q|k|v|qkv|kv)$)", "", word) for word in re.split(r"[_\d]+", leaf)]
    known = [_ROLES[word] for word in words if word in _ROLES]
    # `pos_key_proj` is a map of positions, not the key.
    return known[0] if (len(known) == 1 and words[0] in _ROLES) or words[-1:] == known else "other"


def _mixer_roles(calls: list[_Call]) -> list[str]:
    """The first map widens and the last one narrows; what is between has no common name."""
    if len(calls) < 2:
        return ["other"] * len(calls)
    return ["up", *["other"] * (len(calls) - 2), "down"]


def _feed_forward_roles(calls: list[_Call], events: Sequence[Event]) -> list[str]:
    """Two maps are up and down; of three, the one that feeds the activation is the gate."""
    if len(calls) == 2:
        (_, wide), (inner, _) = calls[0].widths, calls[1].widths
        return ["gate_up" if wide == 2 * inner else "up", "down"]
    if len(calls) == 3 and calls[0].widths == calls[1].widths:
        inputs = {
            id(event.tensor)
            for event in events
            if event.point == "in" and event.module not in {call.name for call in calls}
        }
        second_is_gate = id(calls[1].after.tensor) in inputs
        first_is_gate = id(calls[0].after.tensor) in inputs
        if second_is_gate and not first_is_gate:
            return ["up", "gate", "down"]
        return ["gate", "up", "down"]
    return ["other"] * len(calls)
