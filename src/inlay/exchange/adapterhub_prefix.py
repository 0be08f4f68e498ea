"""Read prefix tuning: one network, or one flat table, for all attentions of a kind."""

import torch
from torch import Tensor

from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_parts import Part, Source, Tails, check_blocks
from inlay.methods.prefix import Prefix
from inlay.sites.attention import attention_place, relative_bias
from inlay.sites.sitemap import Site

_LOCATIONS = {
    "encoder_prefix": ("encoder", "attention"),
    "self_prefix": ("decoder", "attention"),
    "cross_prefix": ("decoder", "cross_attention"),
}
"""The peer's word for a group of attentions -> submodel and kind, where there are two submodels."""

_COUNTED = (
    "the prefix counts as positions, so that the base's distances between the text's keys and "
    "queries are shifted by it, as in AdapterHub; in the paper it takes up no position"
)


def prefix_part(source: Source, config: Config) -> Part:
    """Read a prefix.

    Raises:
        FormatError: If an option or a tensor is missing, unknown, or cannot be expressed.
    """
    if config.take("use_gating", default=False):
        raise FormatError(f"{config.where}: option use_gating=True is not supported.")
    length, is_flat = int(config.number("prefix_length")), config.take("flat", default=False)
    inner = int(config.number("bottleneck_size", 512))
    activation = config.activation(default="tanh")
    wanted = {
        key for key in ("encoder_prefix", "cross_prefix") if config.take(key, default=True)
    } | {"self_prefix"}
    leave_out, dropout = config.take("leave_out", []), config.number("dropout", 0.0)
    config.ignore("init_weights_seed", "shared_gating")
    config.done()
    tensors: dict[str, Tensor] = {}
    sites: list[Site] = []
    for location, tails in _by_location(source).items():
        if location not in wanted:
            continue
        group = _sites(source, location, leave_out)
        sites += group
        read = _flat if is_flat else _network
        tensors |= read(tails, group, length, inner)
    kinds = {(site.submodel, site.kind) for site in sites}
    expected = [s for s in source.sites if (s.submodel, s.kind) in kinds]
    check_blocks(source, expected, [site.name for site in sites], leave_out)
    if not sites:
        raise FormatError(f"{source.where}: there are no tensors of a prefix.")
    inside = {site.name for site in sites}
    own = {"inner_width": None} if is_flat else {"inner_width": inner, "activation": activation}
    counted = [site for site in sites if _weighs_by_distance(source, site)]
    return Part(
        method=Prefix(length=length, dropout=dropout, counted=bool(counted), **own),
        sites=tuple(site.name for site in source.sites if site.name in inside),
        tensors=tensors,
        notes=(_COUNTED,) if counted else (),
    )


def _weighs_by_distance(source: Source, site: Site) -> bool:
    place = attention_place(site, source.sites, source.model)
    return relative_bias(source.model, place.module) is not None


def _by_location(source: Source) -> dict[str, Tails]:
    """Group tensors by location; copies that attentions hold of them must be equal."""
    keys: dict[str, dict[str, str]] = {}
    copies = []
    for name in source.under("prefix_tunings"):
        location, _, tail = name.tail.partition(".")
        if name.owner.endswith(".pool"):
            copies.append((name, location, tail))
        else:
            keys.setdefault(location, {})[tail] = name.key
    for name, location, tail in copies:
        own = keys.get(location, {}).get(tail)
        if own is None or not torch.equal(source.take(name.key), source.checkpoint.tensors[own]):
            raise FormatError(
                f"{source.where}: tensor {name.key!r} is a copy of the model's own prefix, but "
                "differs from it."
            )
    start = f"prefix_tuning.prefix_tunings.{source.checkpoint.name}"
    return {at: Tails(source, f"{start}.{at}", own) for at, own in keys.items()}


def _sites(source: Source, location: str, leave_out: object) -> list[Site]:
    """Return the attentions of a location, in the order of the peer's layers."""
    submodels = set(source.sites.submodels())
    if location not in _LOCATIONS or (len(submodels) > 1 and submodels != {"encoder", "decoder"}):
        raise FormatError(
            f"{source.where}: which attentions the prefix {location!r} is for cannot be told on a "
            f"model with {', '.join(sorted(submodels)) or 'one stack of blocks'}."
        )
    submodel, kind = _LOCATIONS[location]
    found = [
        site
        for site in source.sites
        if site.kind == kind and (len(submodels) == 1 or site.submodel == submodel)
    ]
    if len(submodels) == 1 and isinstance(leave_out, list):
        found = [site for site in found if site.block not in leave_out]
    if not found:
        raise FormatError(f"{source.where}: this model has no attention for {location!r}.")
    return found


def _network(tails: Tails, sites: list[Site], length: int, inner: int) -> dict[str, Tensor]:
    """Return the tensors of a network, which our first layer of a group holds."""
    out = tails.take("control_trans.2.weight", None, inner)
    start = f"site/{sites[0].name}/rows"
    return {
        f"{start}.inputs": tails.take("wte.weight", length, sites[0].width),
        f"{start}.down.weight": tails.take("control_trans.0.weight", inner, sites[0].width),
        f"{start}.down.bias": tails.take("control_trans.0.bias", inner),
        f"{start}.up.weight": out,
        f"{start}.up.bias": tails.take("control_trans.2.bias", len(out)),
    }


def _flat(tails: Tails, sites: list[Site], length: int, inner: int) -> dict[str, Tensor]:
    """Return a table for each attention: keys and values of one behind those of the other."""
    table = tails.take("control_trans", None)
    if len(table) % (length * len(sites)):
        raise FormatError(
            f"{tails.source.where}: tensor '{tails.owner}.control_trans' has {len(table)} numbers, "
            f"which are not {length} rows for each of {len(sites)} attentions."
        )
    rows = table.view(length, len(sites), -1)
    return {
        f"site/{site.name}/rows.rows": rows[:, number].contiguous()
        for number, site in enumerate(sites)
    }
