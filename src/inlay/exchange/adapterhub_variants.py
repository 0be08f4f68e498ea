"""Read what AdapterHub makes of DoRA and VeRA, whose maths there are others than the papers'.

DoRA: `y = g * (W x + b + s B A x)`, `g = m / |W + B A|` by rows: the norm leaves the scale `s` out,
and the base's bias is multiplied too. Ours multiplies the rows of `W + s B A` to a trained length,
so that length is `g |W + s B A|`, and the bias is a copy, `g b`.

VeRA: `y = W x + b + s V B D A x` with trained square matrices `V` and `D`, where the paper has
diagonal ones: a LoRA of factors `D A` and `V B`.
"""

import torch
from torch import Tensor

from inlay.errors import FormatError
from inlay.exchange.adapterhub_parts import Source, Tails
from inlay.sites.maps import base_map
from inlay.sites.sitemap import Site

DORA_NOTE = (
    "DoRA as in AdapterHub: the norm is of W + B A without the scale, and the magnitudes multiply "
    "the base's bias too, of which the adapter has a copy; the paper's do neither"
)
VERA_NOTE = (
    "VeRA as in AdapterHub, which trains square matrices where the paper has vectors: it is a LoRA "
    "of the same rank here, whose factors would all be trained"
)

Pair = tuple[Tensor, Tensor]


def shared_pair(source: Source) -> Pair:
    """Return the matrices that all maps share, `(rank, in)` and `(out, rank)`.

    Raises:
        FormatError: If the file lacks them, as those saved from a class without a head do.
    """
    names = {name.tail: name for name in source.under("shared_parameters")}
    for tail in ("lora_A", "lora_B"):
        if tail not in names:
            raise FormatError(
                f"{source.where}: tensor 'shared_parameters.{source.checkpoint.name}.{tail}' is "
                "missing, without which the adapter computes nothing. AdapterHub leaves it out "
                "when it saves from a base class such as BertModel; save the adapter again from a "
                "class with a head, such as BertAdapterModel."
            )
    return source.take(names["lora_A"].key), source.take(names["lora_B"].key)


def vera_factors(tails: Tails, site: Site, rank: int, shared: Pair) -> Pair:
    """Return the factors of the LoRA that a VeRA is at one map.

    Raises:
        FormatError: If the shared matrices do not fit the map.
    """
    down, up = shared
    if down.shape != (rank, site.in_width) or up.shape != (site.width, rank):
        raise FormatError(
            f"{tails.source.where}: the shared matrices are {list(down.shape)} and "
            f"{list(up.shape)}, which do not fit the map {site.name!r} at rank {rank}."
        )
    inner, outer = tails.take("vera_D", rank, rank), tails.take("vera_B", site.width, site.width)
    return inner @ down, outer @ up


def dora_tensors(
    source: Source, tails: Tails, site: Site, factors: Pair, scale: float
) -> dict[str, Tensor]:
    """Return the magnitudes at one map, and the copy of its bias.

    Raises:
        FormatError: If the map's weight cannot be read.
    """
    weight = base_map(site, source.model)
    if weight is None or site.kind == "qkv":
        raise FormatError(
            f"{source.where}: option use_dora=True cannot be used at {site.name!r}, whose weight "
            "holds several maps or cannot be read."
        )
    own, update = weight().float().cpu(), factors[1].float() @ factors[0].float()
    norm = torch.linalg.vector_norm
    stretch = tails.take("m.weight", site.width, 1)[:, 0].float() / norm(own + update, dim=1)
    lengths = stretch * norm(own + scale * update, dim=1)
    tensors = {f"site/{site.name}/magnitude": lengths - norm(own, dim=1)}
    bias = getattr(source.model.get_submodule(site.module), "bias", None)
    if bias is not None:
        tensors[f"weight/{site.module}.bias"] = stretch * bias.detach().float().cpu()
    return tensors
