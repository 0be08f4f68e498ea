"""Read LoReFT: edits of a low-rank subspace behind each block."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_parts import Part, Source, Tails, by_place, check_blocks
from inlay.methods.loreft import LoReFT

_ORIGINAL = "projection.parametrizations.weight.original"
_BASE = "projection.parametrizations.weight.0.base"


def reft_parts(source: Source, config: Config) -> list[Part]:
    """Read a LoReFT.

    Raises:
        FormatError: If an option or a tensor is missing, unknown, or cannot be expressed; so
            variants without an orthogonal projection, which the peer's files do not tell apart.
    """
    if not config.take("orthogonality"):
        raise FormatError(
            f"{config.where}: option orthogonality=False (NoReFT and DiReFT, which are saved "
            "alike) is not supported; LoReFT is."
        )
    for key, only in (
        ("non_linearity", None),
        ("output_reft", True),
        ("subtract_projection", True),
    ):
        value = config.take(key, only)
        if value != only:
            raise config.wrong(key, value, repr(only))
    rank, dropout = int(config.number("r")), config.number("dropout", 0.0)
    first, last = int(config.number("prefix_positions")), int(config.number("suffix_positions"))
    is_tied = bool(config.take("tied_weights", default=False))
    layers = config.take("layers", "all")
    config.ignore("dtype", "init_weights_seed")
    config.done()
    blocks = [site for site in source.sites if site.kind == "block"]
    if layers != "all" and not isinstance(layers, list):
        raise config.wrong("layers", layers, "'all' or a list of numbers")
    left_out = [] if layers == "all" else [s.block for s in blocks if s.block not in layers]
    names = source.under("refts")
    tails = by_place(source, [(source.finder.block_site(n, source.where), n) for n in names])
    check_blocks(source, blocks, tails, left_out)
    both = first > 0 and last > 0 and not is_tied
    tensors: dict[str, Tensor] = {}
    for name, own in tails.items():
        width = source.sites[name].width
        units = [_unit(own, number, rank, width) for number in range(1 if is_tied else 2)]
        used = {"edit": units[0], "edit_last": units[-1]}
        if not both:
            used = {"edit": units[0] if first else units[-1]}
        tensors |= {
            f"site/{name}/{part}.{key}": value
            for part, unit in used.items()
            for key, value in unit.items()
        }
    method = LoReFT(rank=rank, first=first, last=last, tied=not both, dropout=dropout)
    notes = [_DROPOUT] if dropout else []
    notes += [_OWN_COUNT] if len(source.sites.submodels()) > 1 else []
    return [Part(method=method, sites=tuple(tails), tensors=tensors, notes=tuple(notes))]


_DROPOUT = "in training, AdapterHub drops channels of the edited state, and here of the edit only"

_OWN_COUNT = (
    "positions are counted in each stack of blocks by itself; AdapterHub may take those of the "
    "first for all"
)


def _unit(tails: Tails, number: int, rank: int, width: int) -> dict[str, Tensor]:
    """Return one edit by our names; its rotation is what the peer's parametrisation gives."""
    start = f"units.{number}"
    linear = orthogonal(nn.Linear(width, rank, bias=False))
    state = linear.state_dict()
    with torch.no_grad():
        for key, part in (("original", _ORIGINAL), ("0.base", _BASE)):
            own = state[f"parametrizations.weight.{key}"]
            own.copy_(tails.take(f"{start}.{part}", *own.shape))
        rotation = torch.as_tensor(linear.weight).detach().clone()
    if not torch.allclose(rotation @ rotation.T, torch.eye(rank), atol=1e-4):
        raise FormatError(
            f"{tails.source.where}: tensor '{tails.owner}.{start}.{_ORIGINAL}' does not give "
            "orthonormal rows (weight decay does that to the peer's), so that it is no LoReFT."
        )
    return {
        "raw": rotation.T.contiguous(),
        "weight": tails.take(f"{start}.learned_source.weight", rank, width),
        "bias": tails.take(f"{start}.learned_source.bias", rank),
    }
