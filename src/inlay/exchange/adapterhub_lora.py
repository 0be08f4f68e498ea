"""Read LoRA and what the peer keeps in the same format."""

import torch
from torch import Tensor

from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_ia3 import ia3_parts
from inlay.exchange.adapterhub_linear import check_linear, lora_places
from inlay.exchange.adapterhub_parts import GATE_NOTE, Part, Source, Tails, by_place, gate_weights
from inlay.exchange.adapterhub_variants import (
    DORA_NOTE,
    VERA_NOTE,
    dora_tensors,
    shared_pair,
    vera_factors,
)
from inlay.methods.lora import LoRA
from inlay.sites.sitemap import Site

_NOTES = {"use_gating": GATE_NOTE, "use_dora": DORA_NOTE, "vera_d": VERA_NOTE}
"""Option -> what a user should know of it."""


def lora_parts(source: Source, config: Config) -> list[Part]:
    """Read a LoRA.

    Raises:
        FormatError: If an option or a tensor is missing, unknown, or cannot be expressed.
    """
    mode = config.take("composition_mode", "add")
    variants = _variants(config, mode)
    has_gate = variants["use_gating"]
    if mode == "scale":
        return ia3_parts(source, config)
    rank, alpha = int(config.number("r")), config.number("alpha")
    version = source.checkpoint.version
    notes = [note for key, note in _NOTES.items() if variants[key]]
    if has_gate:
        alpha = rank  # the gate takes the place of alpha / rank
    elif version is not None and version < (1, 1) and rank != alpha:
        notes.append(f"alpha={alpha} had no effect in AdapterHub before 1.1.0; it is {rank} here")
        alpha = rank
    dropout = config.number("dropout", 0.0)
    matrices, places = lora_places(config)
    leave_out = config.take("leave_out", [])
    config.ignore("init_weights", "init_weights_seed", "dtype")
    config.done()
    tails = by_place(
        source, [(source.finder.linear(n, source.where), n) for n in source.under("loras")]
    )
    check_linear(source, tails, places, leave_out)
    fused = [name for name in tails if source.sites[name].kind == "qkv"]
    parts = len(matrices) if fused else 1
    tensors: dict[str, Tensor] = {}
    shared = shared_pair(source) if variants["vera_d"] else None
    for name, own in tails.items():
        site = source.sites[name]
        if shared is None:
            a, b = _factors(own, site, rank, matrices if site.kind == "qkv" else None)
        else:
            a, b = vera_factors(own, site, rank, shared)
        if variants["use_dora"]:
            tensors |= dora_tensors(source, own, site, (a, b), alpha / rank)
        # One rank for all maps: those that are not fused get ranks of zeros.
        a, b = _padded(a, b, rank * parts)
        tensors |= {f"site/{name}/a": a, f"site/{name}/b": b}
        if has_gate:
            gates = gate_weights(own, site.in_width or 0, parts if site.kind == "qkv" else 1)
            for key, tensor in gates.items():
                tensors[f"site/{name}/{key}"] = _more_rows(tensor, parts)
    if fused:
        notes.append(
            f"the fused map has one LoRA of rank {rank * parts} instead of {parts} of rank {rank}; "
            "what connects them is zero, but would be trained"
        )
    method = LoRA(
        rank=rank * parts, alpha=alpha * parts, dropout=dropout,
        gate="padded" if has_gate else False, gates=parts if has_gate else 1,
        magnitude=variants["use_dora"],
    )  # fmt: skip
    return [Part(method=method, sites=tuple(tails), tensors=tensors, notes=tuple(notes))]


def _variants(config: Config, mode: object) -> dict[str, bool]:
    """Tell which variants of a LoRA the settings ask for.

    Raises:
        FormatError: If they do not go together, or not with the mode.
    """
    config.ignore("vera_b")  # how VeRA's second matrix began
    variants = {
        "use_dora": bool(config.take("use_dora", default=False)),
        "vera_d": config.take("vera_d", None) is not None,
        "use_gating": bool(config.take("use_gating", default=False)),
    }
    used = [key for key, is_on in variants.items() if is_on]
    if mode == "scale" and used:
        raise FormatError(f"{config.where}: option {used[0]} is not supported for IA3.")
    if variants["use_gating"] and len(used) > 1:
        raise FormatError(
            f"{config.where}: options {' and '.join(used)} are not supported at once."
        )
    if mode not in ("add", "scale"):
        raise config.wrong("composition_mode", mode, "'add' or 'scale'")
    return variants


def _factors(
    tails: Tails, site: Site, rank: int, matrices: list[str] | None
) -> tuple[Tensor, Tensor]:
    """Return `A` and `B`; of a map of q, k and v in one, with zeros where they do not meet."""
    in_width = site.in_width or 0
    if matrices is None:
        a = tails.take("lora_A", rank, in_width)
        return a, tails.take("lora_B", site.width, rank)
    third = site.width // 3
    a = tails.take("lora_A", rank * len(matrices), in_width)
    given = tails.take("lora_B", third * len(matrices), rank)
    b = torch.zeros(site.width, rank * len(matrices), dtype=given.dtype)
    for number, letter in enumerate(matrices):
        rows = slice("qkv".index(letter) * third, ("qkv".index(letter) + 1) * third)
        columns = slice(number * rank, (number + 1) * rank)
        b[rows, columns] = given[number * third : (number + 1) * third]
    return a, b


def _more_rows(tensor: Tensor, rows: int) -> Tensor:
    """Put zeros behind a tensor, until it has so many rows."""
    return torch.cat([tensor, tensor.new_zeros(rows - len(tensor), *tensor.shape[1:])])


def _padded(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    more = rank - len(a)
    if not more:
        return a, b
    return torch.nn.functional.pad(a, (0, 0, 0, more)), torch.nn.functional.pad(b, (0, more))
