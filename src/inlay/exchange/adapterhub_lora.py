"""Read LoRA and what the peer keeps in the same format."""

import torch
from torch import Tensor

from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_parts import Part, Source, Tails, by_place, check_blocks
from inlay.methods.lora import LoRA
from inlay.sites.sitemap import Site


def lora_parts(source: Source, config: Config) -> list[Part]:
    """Read a LoRA.

    Raises:
        FormatError: If an option or a tensor is missing, unknown, or cannot be expressed.
    """
    for key in ("use_gating", "use_dora", "vera_d", "vera_b"):
        if config.take(key, None):
            raise FormatError(f"{config.where}: option {key} is not supported for a LoRA.")
    mode = config.take("composition_mode", "add")
    if mode != "add":
        raise config.wrong("composition_mode", mode, "'add'")
    rank, alpha = int(config.number("r")), config.number("alpha")
    version = source.checkpoint.version
    notes = []
    if version is not None and version < (1, 1) and rank != alpha:
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
    for name, own in tails.items():
        site = source.sites[name]
        a, b = _factors(own, site, rank, matrices if site.kind == "qkv" else None)
        # One rank for all maps: those that are not fused get ranks of zeros.
        a, b = _padded(a, b, rank * parts)
        tensors |= {f"site/{name}/a": a, f"site/{name}/b": b}
    if fused:
        notes.append(
            f"the fused map has one LoRA of rank {rank * parts} instead of {parts} of rank {rank}; "
            "what connects them is zero, but would be trained"
        )
    method = LoRA(rank=rank * parts, alpha=alpha * parts, dropout=dropout)
    return [Part(method=method, sites=tuple(tails), tensors=tensors, notes=tuple(notes))]


def lora_places(config: Config) -> tuple[list[str], list[str]]:
    """Take the settings of where a LoRA is: which of q, k and v, and kinds of linear maps.

    Raises:
        FormatError: If a setting cannot be used.
    """
    matrices = config.take("attn_matrices", ["q", "v"])
    if not isinstance(matrices, list) or not set(matrices) <= {"q", "k", "v"}:
        raise config.wrong("attn_matrices", matrices, "a list of 'q', 'k' and 'v'")
    ordered = [letter for letter in "qkv" if letter in matrices]
    places = list(ordered) if config.take("selfattn_lora", default=True) else []
    if config.take("intermediate_lora", default=False):
        places.append("up")
    if config.take("output_lora", default=False):
        places.append("down")
    return ordered, places


def check_linear(
    source: Source, tails: dict[str, Tails], places: list[str], leave_out: object
) -> None:
    """Refuse a file without tensors at a map that the config names.

    Which maps of a feed-forward layer the peer means differs by family, so that only kinds that
    the file has somewhere are asked for in every block, and the number of kinds is compared.

    Raises:
        FormatError: If one is missing.
    """
    kinds = {source.sites[name].kind for name in tails}
    attention = [p for p in places if p in "qkv"]
    if not tails:
        raise FormatError(f"{source.where}: there are no tensors of a LoRA.")
    there = [s for s in source.sites if s.kind in kinds]
    check_blocks(source, there, tails, leave_out)
    asked = set(attention) if "qkv" not in kinds else {"qkv"} if attention else set()
    for kind in sorted(asked - kinds):
        raise FormatError(
            f"{source.where}: there are no tensors for any map {kind!r}, where the config says "
            "there is an adapter; the file is incomplete, or of another model."
        )
    if len(kinds - {"q", "k", "v", "qkv"}) != len(places) - len(attention):
        raise FormatError(
            f"{source.where}: the config puts a LoRA at {', '.join(places)}, but the tensors are "
            f"at {', '.join(sorted(kinds))}; the file is incomplete, or of another model."
        )


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


def _padded(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    more = rank - len(a)
    if not more:
        return a, b
    return torch.nn.functional.pad(a, (0, 0, 0, more)), torch.nn.functional.pad(b, (0, more))
