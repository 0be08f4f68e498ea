"""Read bottleneck adapters: what the peer's switches for norms and residuals mean at our sites."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_parts import (
    GATE_NOTE,
    Part,
    Source,
    Tails,
    by_place,
    check_blocks,
    gate_weights,
)
from inlay.methods.base import Input
from inlay.methods.bottleneck import Bottleneck, Residual
from inlay.sites.sitemap import Site

_NOT_COMPUTED = (
    "init_weights", "init_weights_seed", "phm_init_range", "phm_c_init",
    "hypercomplex_nonlinearity", "learn_phm",
)  # fmt: skip
"""Settings of how training starts."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Switches:
    """The settings that say what is computed."""

    kinds: tuple[str, ...]
    parallel: bool
    ln_before: bool
    ln_after: bool
    original_before: bool
    original_after: bool
    residual_before_ln: bool | str
    residual_in_norm: bool
    activation: str
    scaling: float | Literal["learned", "channel"]
    dropout: float
    leave_out: Any
    stochastic_depth: float


def read_switches(config: Config) -> Switches:
    """Take the settings of a bottleneck out of a config.

    Raises:
        FormatError: If one is missing, unknown, or of a kind that cannot be read.
    """
    places = {"mh_adapter": "attention", "cross_adapter": "cross_attention"}
    places["output_adapter"] = "ffn"
    default = {"cross_adapter": False}
    kinds = [
        kind
        for key, kind in places.items()
        if (config.take(key, default[key]) if key in default else config.take(key))
    ]
    config.take("reduction_factor")  # the tensors' sizes say it
    residual = config.values.get("residual_before_ln", True)
    if residual != "post_add":
        residual = config.take("residual_before_ln", True)
    else:
        config.ignore("residual_before_ln")
    scaling = config.take("scaling", 1.0)
    if scaling not in ("learned", "channel"):
        config.values["scaling"] = scaling
        scaling = config.number("scaling")
    config.ignore(*_NOT_COMPUTED)
    return Switches(
        kinds=tuple(kinds),
        parallel=config.take("is_parallel", default=False),
        ln_before=config.take("ln_before", default=False),
        ln_after=config.take("ln_after", default=False),
        original_before=config.take("original_ln_before", default=False),
        original_after=config.take("original_ln_after", default=True),
        residual_before_ln=residual,
        residual_in_norm=config.take("adapter_residual_before_ln", default=False),
        activation=config.activation(),
        scaling=scaling,
        dropout=config.number("dropout", 0.0),
        leave_out=config.take("leave_out", []),
        stochastic_depth=config.number("stochastic_depth", 0.0),
    )


@final
@dataclass(frozen=True, slots=True)
class Wiring:
    """Where a bottleneck reads, what its update is added to, and which site that is."""

    input: Input
    residual: Residual
    kind: str


def wiring(switches: Switches, site: Site, where: str, *, is_swapped: bool = False) -> Wiring:
    """Say in our words what the peer computes at a sublayer.

    With `x` the sublayer's output, `r` the stream and `LN` the base's norm on the sum (the
    identity where there is none), the peer computes `h = LN(x + r)` or `x`, then
    `a = f(h) + residual`, and then `LN(a + r)` or `a`. Ours is `a`, before the base's own sum.

    Args:
        switches: The settings.
        site: The sublayer.
        where: The file, for messages.
        is_swapped: Whether the peer takes `x` and `r` for one another there.

    Raises:
        FormatError: If the result has lost the stream, or the peer itself fails.
    """
    has_norm = site.norm == "post"
    options = (
        f"{where}: options is_parallel={switches.parallel}, "
        f"original_ln_before={switches.original_before}, "
        f"original_ln_after={switches.original_after}, "
        f"residual_before_ln={switches.residual_before_ln!r}"
    )
    before, residual = switches.original_before, switches.residual_before_ln
    is_changed = residual == "post_add" or (before and residual is False)
    if is_swapped and (is_changed or not switches.original_after):
        raise FormatError(f"{options} cannot be expressed at {site.name!r}.")
    if switches.parallel:
        if switches.original_after:
            return Wiring("x" if is_swapped else "r", "x", site.kind)
        raise FormatError(f"{options} leave out the base's own sum, which cannot be expressed.")
    if residual == "post_add" and not (before and has_norm):
        raise FormatError(f"{options} make the peer itself fail on such a model.")
    if switches.original_after:
        if not before:
            return Wiring("r" if is_swapped else "x", "x", site.kind)
        kept: dict[bool | str, Residual] = {True: "x", False: "input", "post_add": "x+r"}
        return Wiring("norm(x+r)", kept[residual], site.kind)
    if residual is not False or not before:
        raise FormatError(f"{options} lose the residual stream, which cannot be expressed.")
    if not has_norm:
        return Wiring("x+r", "x", site.kind)
    if site.kind == "ffn":
        return Wiring("x", "x", "block")  # the base's norm is the end of the block
    raise FormatError(
        f"{options} put an adapter behind the norm of {site.name!r}, in the middle of a block, "
        "where there is no site."
    )


_HOOKED = {
    "attention": ("layer_pre_self_attn", "layer_ln_1"),
    "ffn": ("layer_pre_ffn", "layer_ln_2"),
}
"""Sublayer -> words of an interface for the module whose input is the stream, and the norm."""


def hooked(switches: Switches, site: Site, source: Source, interface: dict[str, Any]) -> Wiring:
    """Say in our words what the peer computes where it hooked an adapter into a model.

    It acts on what the sublayer's last map gives, and the base does its own sum whatever
    `original_ln_after` is. The stream is what a module that the interface names is given.

    Raises:
        FormatError: If a norm is between that map and the sum, or the stream is not what the peer
            takes for it.
    """
    if site.norm not in ("pre", "none") or site.scale != 1 or site.kind not in _HOOKED:
        raise FormatError(
            f"{source.where}: the adapter at {site.name!r} was hooked in front of the base's norm "
            "or scale of that sublayer, where there is no site."
        )
    pre, norm = (interface.get(word) for word in _HOOKED[site.kind])
    before = switches.original_before and not switches.parallel
    if not (before or switches.parallel) or (before and pre is None and norm is None):
        return Wiring("x", "x", site.kind)
    block = target(source, site, "block")
    if norm is not None or site.stream_module != f"{source.sites[block].module}.{pre}":
        raise FormatError(
            f"{source.where}: the adapter at {site.name!r} reads the input of {pre!r} and the norm "
            f"{norm!r}, which are not the stream and the norm of this sublayer here."
        )
    return wiring(dataclasses.replace(switches, original_after=True), site, source.where)


def bottleneck_parts(source: Source, config: Config) -> list[Part]:
    """Read a bottleneck; places that are wired differently make a part each.

    Raises:
        FormatError: If an option or a tensor is missing, unknown, or cannot be expressed.
    """
    switches = read_switches(config)
    has_gate = config.take("use_gating", default=False)
    if has_gate and switches.ln_after:
        raise FormatError(
            f"{config.where}: options use_gating=True, ln_after=True put the gate in front of a "
            "norm, which cannot be expressed."
        )
    config.take("phm_layer", default=False)
    config.ignore(
        "phm_dim", "phm_rank", "phm_bias", "factorized_phm_w", "shared_w_phm",
        "factorized_phm_rule", "shared_phm_rule",
    )  # fmt: skip
    config.done()
    tails, groups = wired(source, switches)
    return [_part(source, switches, tails, places, has_gate=has_gate) for places in groups]


def wired(source: Source, switches: Switches) -> tuple[dict[str, Tails], list[dict[str, Wiring]]]:
    """Find the places of a bottleneck and put those together that one method can be at.

    Returns:
        Site of the peer's place -> its tensors, in the order of the sites; and for each group with
        one input and one residual, site -> wiring.

    Raises:
        FormatError: If a place is missing, unknown, or cannot be expressed.
    """
    placed = [(source.finder.residual(n, source.where), n) for n in source.under("adapters")]
    placed = [(site, name) for site, name in placed if site.kind in switches.kinds]
    tails = by_place(source, placed)
    wanted = [site for site in source.sites if site.kind in switches.kinds]
    check_blocks(source, wanted, tails, switches.leave_out)
    swapped = {site.name for site, name in placed if source.finder.is_swapped(name)}
    interface = source.checkpoint.interface
    ways: dict[Wiring, list[str]] = {}
    for name in tails:
        site = source.sites[name]
        if interface is not None:
            ways.setdefault(hooked(switches, site, source, interface), []).append(name)
            continue
        way = wiring(switches, site, source.where, is_swapped=name in swapped)
        if way.input != "x" and source.finder.is_beside(site):
            # Behind both sublayers the peer reads their sum with the stream: the block's output.
            is_sum = not switches.parallel and site.kind == "ffn" and site.norm != "post"
            if is_sum and way.residual == "x":
                way = Wiring("x", "x", "block")
                ways.setdefault(way, []).append(name)
                continue
            raise FormatError(
                f"{source.where}: the adapter at {name!r} reads the stream behind the attention, "
                "but in this model both sublayers of a block read the same stream."
            )
        ways.setdefault(way, []).append(name)
    by_input: dict[tuple[Input, Residual], dict[str, Wiring]] = {}
    for way, names in ways.items():
        by_input.setdefault((way.input, way.residual), {}).update(dict.fromkeys(names, way))
    return tails, list(by_input.values())


def _part(
    source: Source,
    switches: Switches,
    tails: dict[str, Tails],
    places: dict[str, Wiring],
    *,
    has_gate: bool,
) -> Part:
    """Read the places that are wired alike."""
    tensors: dict[str, Tensor] = {}
    inner: dict[str, int] = {}
    targets = []
    for name in (site for site in tails if site in places):
        targets.append(target(source, source.sites[name], places[name].kind))
        weights = _weights(tails[name], switches, source.sites[name].width)
        inner[name] = len(weights["down.0.weight"])
        if has_gate:
            weights |= gate_weights(tails[name], source.sites[name].width)
        tensors |= {f"site/{targets[-1]}/{key}": value for key, value in weights.items()}
    way = next(iter(places.values()))
    method = Bottleneck(
        **inner_widths(source, inner),
        activation=switches.activation,
        input=way.input,
        residual=way.residual,
        scaling=1.0 if switches.ln_after else switches.scaling,
        dropout=switches.dropout,
        norm_before=switches.ln_before,
        norm_after="sum" if _sums_first(switches) else switches.ln_after,
        gate="padded" if has_gate else False,
    )
    notes = [*notes_on(switches), *([GATE_NOTE] if has_gate else [])]
    return Part(method=method, sites=tuple(targets), tensors=tensors, notes=tuple(notes))


def _sums_first(switches: Switches) -> bool:
    return switches.ln_after and switches.residual_in_norm and not switches.parallel


def target(source: Source, site: Site, kind: str) -> str:
    """Return the site of this kind in the block of another one."""
    if kind == site.kind:
        return site.name
    return next(
        s.name
        for s in source.sites
        if (s.kind, s.submodel, s.block) == (kind, site.submodel, site.block)
    )


def _weights(tails: Tails, switches: Switches, width: int) -> dict[str, Tensor]:
    """Return the tensors of one place by our names."""
    at = 1 if switches.ln_before else 0
    down = tails.take(f"adapter_down.{at}.weight", None, width)
    weights = {
        "down.0.weight": down,
        "down.0.bias": tails.take(f"adapter_down.{at}.bias", len(down)),
        "up.weight": tails.take("adapter_up.weight", width, len(down)),
        "up.bias": tails.take("adapter_up.bias", width),
    }
    for part in ("weight", "bias"):
        if switches.ln_before:
            weights[f"norm_before.{part}"] = _aliased(tails, part, width)
        if switches.ln_after:
            weights[f"norm_after.{part}"] = tails.take(f"adapter_norm_after.{part}", width)
    if isinstance(switches.scaling, str):
        size = 1 if switches.scaling == "learned" else width
        weights["scale"] = tails.take("scaling", size)
    if switches.ln_after:
        # The peer scales before its norm, and we behind it.
        scale = weights.pop("scale", torch.tensor([float(_fixed(switches.scaling))]))
        weights["up.weight"] = weights["up.weight"] * scale.unsqueeze(-1)
        weights["up.bias"] = weights["up.bias"] * scale
    return weights


def _fixed(scaling: float | str) -> float:
    return 1.0 if isinstance(scaling, str) else scaling


def _aliased(tails: Tails, part: str, width: int) -> Tensor:
    """Return a tensor of the norm in front, which the peer saves under two names."""
    other = f"adapter_down.0.{part}"
    tensor = tails.take(f"adapter_norm_before.{part}", width)
    if other in tails and not torch.equal(tails.take(other, width), tensor):
        raise FormatError(
            f"{tails.source.where}: tensors '{tails.owner}.{other}' and "
            f"'{tails.owner}.adapter_norm_before.{part}' are one weight, but differ."
        )
    return tensor


def inner_widths(source: Source, inner: dict[str, int]) -> dict[str, Any]:
    """Return the setting for inner widths that may differ by block.

    Args:
        source: The checkpoint.
        inner: Site -> inner width.

    Raises:
        FormatError: If they differ within a block.
    """
    widths = set(inner.values())
    if len(widths) == 1:
        return {"inner_width": widths.pop()}
    reduction: dict[str, float] = {}
    for name, width in inner.items():
        site = source.sites[name]
        block = f"{site.submodel}.{site.block}" if site.submodel else str(site.block)
        if reduction.setdefault(block, site.width / width) != site.width / width:
            raise FormatError(
                f"{source.where}: block {site.block} has bottlenecks of different widths (at "
                f"{name!r} {width}), which one adapter cannot have."
            )
    return {"reduction": reduction}


def notes_on(switches: Switches) -> list[str]:
    """Say what the peer does otherwise than the papers, and what is not kept."""
    notes = []
    if switches.original_before and switches.original_after:
        notes.append(
            "the base's norm is applied twice, in front of the adapter and behind it, as in "
            "AdapterHub"
        )
    if switches.stochastic_depth:
        notes.append(
            f"stochastic_depth={switches.stochastic_depth} of AdapterHub's training is not kept"
        )
    if switches.ln_after and switches.scaling != 1.0:
        notes.append(f"scaling={switches.scaling!r} is folded into the up-projection")
    return notes
