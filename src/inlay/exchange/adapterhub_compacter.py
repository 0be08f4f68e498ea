"""Read Compacter and Compacter++: bottlenecks whose matrices are sums of Kronecker products.

The peer computes `y = x H + b` with `H = sum_i R_i kron (L_i M_i)`, `R_i` its rule and `L_i`, `M_i`
its `W_left` and `W_right`. Ours is `W = H^T`, so each of the three is transposed, and `M_i` is ours
on the left.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from inlay.errors import FormatError
from inlay.exchange.adapterhub_bottleneck import (
    Switches,
    Wiring,
    inner_widths,
    notes_on,
    read_switches,
    target,
    wired,
)
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_parts import Part, Source, Tails
from inlay.methods.compacter import Compacter

_ONLY = {
    "phm_layer": True,
    "phm_bias": True,
    "factorized_phm_w": True,
    "shared_w_phm": False,
    "factorized_phm_rule": False,
    "use_gating": False,
}
"""Options of which one value can be expressed: that of the paper."""


def compacter_parts(source: Source, config: Config) -> list[Part]:
    """Read a Compacter; places that are wired differently make a part each.

    Raises:
        FormatError: If an option or a tensor is missing, unknown, or cannot be expressed.
    """
    for key, value in _ONLY.items():
        if config.take(key, default=value) is not value:
            raise config.wrong(key, not value, str(value))
    n, rank = _size(config, "phm_dim"), _size(config, "phm_rank")
    is_shared = config.take("shared_phm_rule", default=True)
    switches = read_switches(config)
    for key, norm in (("ln_before", switches.ln_before), ("ln_after", switches.ln_after)):
        if norm:
            raise config.wrong(key, norm, "False")
    if isinstance(switches.scaling, str):
        raise config.wrong("scaling", switches.scaling, "a number")
    config.done()
    tails, groups = wired(source, switches)
    form = Form(n=n, rank=rank, rule=_shared_rule(source, n) if is_shared else None)
    notes = notes_on(switches)
    if switches.scaling != 1.0:
        notes.append(f"scaling={switches.scaling!r} is folded into the up-projection")
    if is_shared and len(groups) > 1:
        notes.append("the shared rule of AdapterHub is one for each of the adapter's parts")
    return [_part(source, switches, form, tails, places, notes) for places in groups]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What the layers of one file have in common."""

    n: int
    rank: int
    rule: Tensor | None
    """That of all layers, `(n, n, n)`, as ours; `None` if each matrix has its own."""


def _size(config: Config, key: str) -> int:
    size = config.take(key)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise config.wrong(key, size, "a whole number from 1 on")
    return size


def _shared_rule(source: Source, n: int) -> Tensor:
    """Return the rule that the peer keeps beside the model's blocks."""
    names = source.under("shared_parameters")
    owners = [name.owner for name in names if name.tail == "phm_rule"]
    if not owners:
        raise FormatError(
            f"{source.where}: tensor 'shared_parameters.{source.checkpoint.name}.phm_rule' is "
            "missing, without which the adapter computes nothing. AdapterHub leaves it out when "
            "it saves from a base class such as BertModel; save the adapter again from a class "
            "with a head, such as BertAdapterModel."
        )
    if len(owners) > 1:
        raise FormatError(
            f"{source.where}: there are {len(owners)} shared rules, under "
            f"{', '.join(map(repr, owners))}; one adapter has one."
        )
    keys = {name.tail: name.key for name in names}
    where = f"{owners[0]}.shared_parameters.{source.checkpoint.name}".lstrip(".")
    return Tails(source, where, keys).take("phm_rule", n, n, n).mT


def _part(
    source: Source,
    switches: Switches,
    form: Form,
    tails: dict[str, Tails],
    places: dict[str, Wiring],
    notes: list[str],
) -> Part:
    """Read the places that are wired alike."""
    way = next(iter(places.values()))
    if way.residual != "x":
        raise FormatError(
            f"{source.where}: option residual_before_ln={switches.residual_before_ln!r} cannot be "
            "used with phm_layer=True; True can."
        )
    tensors: dict[str, Tensor] = {}
    inner: dict[str, int] = {}
    targets = []
    for name in (site for site in tails if site in places):
        targets.append(target(source, source.sites[name], places[name].kind))
        weights = _weights(tails[name], switches, form, source.sites[name].width)
        inner[name] = len(weights["down.bias"])
        tensors |= {f"site/{targets[-1]}/{key}": value for key, value in weights.items()}
    if form.rule is not None:
        tensors[f"site/{targets[0]}/own_rules.0.weight"] = form.rule  # the first site owns it
    method = Compacter(
        **inner_widths(source, inner),
        n=form.n,
        rank=form.rank,
        shared_rule=form.rule is not None,
        activation=switches.activation,
        input=way.input,
        dropout=switches.dropout,
    )
    return Part(method=method, sites=tuple(targets), tensors=tensors, notes=tuple(notes))


def _weights(tails: Tails, switches: Switches, form: Form, width: int) -> dict[str, Tensor]:
    """Return the tensors of one place by our names."""
    n = form.n
    weights = {"down.bias": tails.take("adapter_down.0.b", None)}
    inner = len(weights["down.bias"])
    weights["up.bias"] = tails.take("adapter_up.b", width)
    maps = (("down", "adapter_down.0", width, inner), ("up", "adapter_up", inner, width))
    for number, (ours, theirs, wide, out) in enumerate(maps):
        left = tails.take(f"{theirs}.W_left", n, wide // n, form.rank)
        right = tails.take(f"{theirs}.W_right", n, form.rank, out // n)
        weights |= {f"{ours}.left": right.mT, f"{ours}.right": left.mT}
        if form.rule is None:
            weights[f"own_rules.{number}.weight"] = tails.take(f"{theirs}.phm_rule", n, n, n).mT
    for key in ("up.left", "up.bias"):
        weights[key] = weights[key] * float(switches.scaling)
    return weights
