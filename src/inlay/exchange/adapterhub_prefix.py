"""Read prefix tuning: one network, or one flat table, for all attentions of a kind."""

import re
from typing import Any

import torch
from torch import Tensor

from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_parts import GATE_NOTE, Part, Source, Tails, by_place, gate_weights
from inlay.methods.prefix import Prefix
from inlay.sites.attention import attention_place, relative_bias
from inlay.sites.sitemap import Site

_PLACES = {
    "encoder": ("encoder", "attention"),
    "self": ("decoder", "attention"),
    "cross": ("decoder", "cross_attention"),
}
"""The peer's word for a group of attentions -> submodel and kind in a pair of stacks."""

_LOCATION = re.compile(r"(?:(?P<submodel>\w+)_)?(?P<word>encoder|self|cross)(?:_prefix)?")
"""A name such as `self`, `cross_prefix` or `clip_text_model_self_prefix`."""

_HIDES = frozenset({"gpt2", "llama", "mistral"})
"""Types of model whose mask of truth values hides the prefix since AdapterHub 1.3.

So it does where a batch has padding. Where it has none there is no such mask.
"""

_ADDS_TO_SCORES = frozenset({"distilbert"})
"""Types of model whose mask is added to the scores, and is 1 at the prefix, since then."""

_MASKED_OUT = (
    "the {} is left out: where a batch has padding, AdapterHub's own mask hides it from every "
    "query, and where it has none, takes it for the first positions of the text, which cannot be "
    "expressed"
)
_CAUSAL = (
    "the prefix is in front of all words; AdapterHub may take it for the first positions of the "
    "text in its causal mask where a batch has no padding"
)
_COUNTED = (
    "the prefix counts as positions, so that the base's distances between the text's keys and "
    "queries are shifted by it, as in AdapterHub; in the paper it takes up no position"
)


def prefix_parts(source: Source, config: Config) -> list[Part]:
    """Read a prefix.

    Raises:
        FormatError: If an option or a tensor is missing, unknown, or cannot be expressed.
    """
    has_gate = config.take("use_gating", default=False)
    number = 1 if config.take("shared_gating", default=True) else 2
    length, is_flat = int(config.number("prefix_length")), config.take("flat", default=False)
    inner = int(config.number("bottleneck_size", 512))
    activation = config.activation(default="tanh")
    wanted = {"self"}
    for word in ("encoder", "cross"):
        if config.take(f"{word}_prefix", default=True):
            wanted.add(word)
    leave_out, dropout = config.take("leave_out", []), config.number("dropout", 0.0)
    config.ignore("init_weights_seed")
    config.done()
    tensors: dict[str, Tensor] = {}
    sites: list[Site] = []
    gates = _gates(source, number) if has_gate else {}
    groups = [
        (location, tails, _sites(source, location, leave_out))
        for location, tails in _by_location(source).items()
    ]
    if not groups:
        raise FormatError(f"{source.where}: there are no tensors of a prefix.")
    notes = []
    for location, tails, group in groups:
        read = _flat if is_flat else _network
        found = read(tails, group, length, inner)
        if _is_masked_out(source, group[0]):
            notes.append(_MASKED_OUT.format(location))
            continue
        sites += group
        tensors |= found
        tensors |= _gates_at(source, gates, group) if has_gate else {}
    _check_all(source, [location for location, _, _ in groups], wanted)
    if not sites:
        return []
    own: dict[str, Any] = {"inner_width": None}
    if not is_flat:
        own = {"inner_width": inner, "activation": activation}
    counted = any(_weighs_by_distance(source, site) for site in sites)
    if has_gate:
        own |= {"gate": "padded", "gates": number}
    method = Prefix(length=length, dropout=dropout, counted=counted, **own)
    inside = {site.name for site in sites}
    ordered = tuple(site.name for site in source.sites if site.name in inside)
    notes += [_COUNTED] if counted else []
    notes += [_CAUSAL] if any(s.causal and s.kind == "attention" for s in sites) else []
    notes += [GATE_NOTE] if has_gate else []
    return [Part(method=method, sites=ordered, tensors=tensors, notes=tuple(notes))]


def _gates(source: Source, number: int) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of the gates by site, those too that have no effect."""
    found: dict[str, dict[str, Tensor]] = {}
    placed = [(source.finder.attention(n, source.where), n) for n in source.under("prefix_gates")]
    for site, tails in by_place(source, placed).items():
        own = Tails(source, tails.owner, {f"gate.{tail}": key for tail, key in tails.keys.items()})
        found[site] = gate_weights(own, source.sites[site].width, number)
    return found


def _gates_at(
    source: Source, gates: dict[str, dict[str, Tensor]], sites: list[Site]
) -> dict[str, Tensor]:
    """Return the tensors of the gates at some attentions by our names.

    Raises:
        FormatError: If one is missing.
    """
    for site in sites:
        if site.name not in gates:
            raise FormatError(
                f"{source.where}: the gate of the prefix at {site.name!r} is missing."
            )
    return {
        f"site/{site.name}/{key}": tensor
        for site in sites
        for key, tensor in gates[site.name].items()
    }


def _check_all(source: Source, locations: list[str], wanted: set[str]) -> None:
    """Refuse a file that lacks the prefix of a group of attentions.

    Raises:
        FormatError: With the first that is missing.
    """
    kinds = {(site.submodel, site.kind) for site in source.sites}
    if set(source.sites.submodels()) != {"encoder", "decoder"}:
        return
    for word, place in _PLACES.items():
        if place in kinds and word in wanted and f"{word}_prefix" not in locations:
            raise FormatError(f"{source.where}: there are no tensors of the '{word}_prefix'.")


def _is_masked_out(source: Source, site: Site) -> bool:
    """Tell whether the peer's own mask hides the prefix from every query.

    Raises:
        FormatError: If what the peer computes is neither that nor what a prefix is.
    """
    version, family = source.checkpoint.version, source.checkpoint.facts.get("model_type")
    if version is None or version < (1, 3):
        return False
    is_pair = len(source.sites.submodels()) > 1 and site.submodel == "decoder"
    shifts = is_pair and site.causal and site.kind == "attention"
    if family in _ADDS_TO_SCORES or (shifts and not _weighs_by_distance(source, site)):
        what = "adds 1 to the scores of its keys" if family in _ADDS_TO_SCORES else (
            "takes it for the first positions of the text in its causal mask"
        )  # fmt: skip
        raise FormatError(
            f"{source.where}: a prefix of this version of AdapterHub is computed otherwise at "
            f"{site.name!r} (it {what}), which cannot be expressed."
        )
    return family in _HIDES


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
    submodels = source.sites.submodels()
    match = _LOCATION.fullmatch(location)
    own = [] if match is None else [s for s in submodels if _ends_with(match["submodel"], s)]
    if match is not None and len(submodels) == 1:
        own, kind = [submodels[0]], "cross_attention" if match["word"] == "cross" else "attention"
    elif match is not None and set(submodels) == {"encoder", "decoder"}:
        submodel, kind = _PLACES[match["word"]]
        own = [submodel]
    elif match is not None and len(own) == 1:
        kind = "attention"
    else:
        raise FormatError(
            f"{source.where}: which attentions the prefix {location!r} is for cannot be told on a "
            f"model with {', '.join(map(repr, submodels))}."
        )
    found = [site for site in source.sites if site.kind == kind and site.submodel == own[0]]
    if len(submodels) == 1 and isinstance(leave_out, list):
        found = [site for site in found if site.block not in leave_out]
    if not found:
        raise FormatError(f"{source.where}: this model has no attention for {location!r}.")
    return found


def _ends_with(name: str | None, word: str) -> bool:
    return bool(name and word) and (name == word or str(name).endswith(f"_{word}"))


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
