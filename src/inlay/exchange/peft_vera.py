"""VeRA in PEFT's files (Kopiczko et al. 2024): one pair of matrices, cut to each map's widths."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig
from inlay.exchange.peft_modules import AtMap, at_maps
from inlay.exchange.peft_names import OF_MODULES, Named, Parts, targets_for
from inlay.methods.vera import VeRA, VeRALayer

_FOLLOWED = (
    "bias",  # taken before the method is read
    "d_initial",
    "fan_in_fan_out",  # how the base keeps its weight
    "init_weights",
    "layers_pattern",
    "layers_to_transform",
    "modules_to_save",
    "projection_prng_key",
    "r",
    "save_projection",
    "target_modules",
    "vera_dropout",  # in training only, and not in the paper
)

_D, _B = ".vera_lambda_d", ".vera_lambda_b"
_DOWN, _UP = "base_model.vera_A", "base_model.vera_B"


def read_vera(config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters) -> Parts:
    """Place the vectors of a VeRA at the linear maps of a model, with the peer's matrices.

    Without saved matrices they are drawn as PEFT draws them, by PyTorch's generator; whether that
    gives the same numbers in every version of it is not certain, which is noted.

    Raises:
        FormatError: If an option has an effect we lack, or the file and the model do not fit.
    """
    config.check_options(_FOLLOWED)
    rest = {key: tensor for key, tensor in tensors.items() if key not in (_DOWN, _UP)}
    maps = at_maps(config, rest, adapters, [_D, _B])
    rank = config.whole("r", 256)
    notes = ["one pair of matrices, cut to the widths of each map, as in PEFT"]
    if config.values.get("save_projection", True):
        down, up = _given(config, tensors, maps, rank)
    else:
        if {_DOWN, _UP} & tensors.keys():
            raise config.refuse("save_projection", "the file has the matrices all the same.")
        down, up = _drawn(config, maps, rank)
        notes.append("the matrices are drawn from projection_prng_key by this PyTorch's generator")
    named: Named = {}
    widths: tuple[set[int], set[int]] = (set(), set())
    for found in maps:
        site, start = found.site, f"site/{found.site.name}"
        wide = site.in_width or 0
        named[f"{start}/d"] = (found.key(_D), found.take(_D, rank))
        named[f"{start}/b"] = (found.key(_B), found.take(_B, site.width))
        if wide not in widths[0]:
            named[f"{start}/down.weight"] = (_DOWN, down[:, :wide])
        if site.width not in widths[1]:
            named[f"{start}/up.weight"] = (_UP, up[: site.width])
        widths[0].add(wide)
        widths[1].add(site.width)
    return Parts(
        method=VeRA(rank=rank, seed=_mark(down, up), saved=True),
        sites=[found.site.name for found in maps],
        tensors=named,
        notes=tuple(notes),
    )


def _given(
    config: PeftConfig, tensors: Mapping[str, Tensor], maps: list[AtMap], rank: int
) -> tuple[Tensor, Tensor]:
    """Return the matrices of the file."""
    wide = max(found.site.in_width or 0 for found in maps)
    tall = max(found.site.width for found in maps)
    for key in (_DOWN, _UP):
        if key not in tensors:
            raise FormatError(
                f"{config.path.parent}: tensor {key!r} is missing; the file is incomplete."
            )
    down, up = tensors[_DOWN], tensors[_UP]
    checks = ((_DOWN, down, (rank, wide)), (_UP, up, (tall, rank)))
    for key, tensor, (rows, columns) in checks:
        fits = tensor.ndim == 2 and tensor.shape[0] >= rows and tensor.shape[1] >= columns
        if not fits or tensor.shape[0 if key == _DOWN else 1] != rank:
            raise FormatError(
                f"{config.path.parent}: tensor {key!r} is {' x '.join(map(str, tensor.shape))}, "
                f"but these maps need {rows} x {columns}."
            )
    return down, up


def _drawn(config: PeftConfig, maps: list[AtMap], rank: int) -> tuple[Tensor, Tensor]:
    """Draw the matrices as PEFT does: both from one generator, Kaiming uniform by the columns."""
    seed = config.values.get("projection_prng_key", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise config.refuse("projection_prng_key", "must be a whole number.")
    generator = torch.Generator().manual_seed(seed)
    wide = max(found.site.in_width or 0 for found in maps)
    tall = max(found.site.width for found in maps)
    drawn = []
    for rows, columns in ((rank, wide), (tall, rank)):
        bound = math.sqrt(3.0) * math.sqrt(2.0) / math.sqrt(columns)
        drawn.append(torch.empty(rows, columns).uniform_(-bound, bound, generator=generator))
    return drawn[0], drawn[1]


def _mark(down: Tensor, up: Tensor) -> int:
    """Return a number that tells these matrices from others."""
    digest = hashlib.sha256()
    for tensor in (down, up):
        digest.update(tensor.float().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:6], "big")


def write_vera(
    adapters: Adapters, entry: Entry, *, uniform: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the options and tensors of a VeRA as PEFT writes them.

    PEFT cuts one pair of matrices to the widths of each map, ours has one for each width. Where
    these are no parts of one another, the pairs are written side by side, as one of a higher rank,
    and the scales of the others' rows are zero: the same update.
    """
    layers: dict[str, VeRALayer] = {}
    for name, layer in entry.layers.items():
        if not isinstance(layer, VeRALayer):
            raise FormatError(f"site {name!r}: {type(layer).__name__} has no form in PEFT's VeRA.")
        layers[adapters.sites[name].module] = layer
    own = {path: layer.matrices() for path, layer in layers.items()}
    downs = _largest([down for down, _ in own.values()], columns=True)
    ups = _largest([up for _, up in own.values()], columns=False)
    of = {
        path: (_index(downs, down, columns=True), _index(ups, up, columns=False))
        for path, (down, up) in own.items()
    }
    pairs = list(dict.fromkeys(of.values()))
    rank = len(downs[0])
    wide, tall = max(d.shape[1] for d in downs), max(u.shape[0] for u in ups)
    tensors: dict[str, Tensor] = {
        _DOWN: torch.cat([_padded(downs[d], rank, wide) for d, _ in pairs]),
        _UP: torch.cat([_padded(ups[u], tall, rank) for _, u in pairs], dim=1),
    }
    for path, layer in layers.items():
        start = pairs.index(of[path]) * rank
        d = layer.d.detach().new_zeros(rank * len(pairs))
        d[start : start + rank] = layer.d.detach()
        tensors |= {f"{OF_MODULES}{path}{_D}": d, f"{OF_MODULES}{path}{_B}": layer.b.detach()}
    modules = [adapters.model.get_submodule(path) for path in layers]
    options = {
        "bias": "none",
        "d_initial": 0.1,
        "fan_in_fan_out": not any(isinstance(module, nn.Linear) for module in modules),
        "init_weights": True,
        "projection_prng_key": 0,
        "r": rank * len(pairs),
        "save_projection": True,
        "target_modules": targets_for(list(layers), adapters.model),
        "vera_dropout": 0.0,
    }
    return options, tensors


def _largest(matrices: list[Tensor], *, columns: bool) -> list[Tensor]:
    """Return the matrices that are no part of another, each once."""
    result: list[Tensor] = []
    for matrix in sorted(matrices, key=lambda m: -m.numel()):
        if not any(_is_part(matrix, other, columns=columns) for other in result):
            result.append(matrix)
    return result


def _is_part(matrix: Tensor, other: Tensor, *, columns: bool) -> bool:
    cut = other[:, : matrix.shape[1]] if columns else other[: matrix.shape[0]]
    return torch.equal(cut.cpu(), matrix.cpu())


def _index(matrices: list[Tensor], matrix: Tensor, *, columns: bool) -> int:
    found = (n for n, m in enumerate(matrices) if _is_part(matrix, m, columns=columns))
    return next(found)


def _padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    more = (0, columns - matrix.shape[1], 0, rows - matrix.shape[0])
    return torch.nn.functional.pad(matrix, more)
