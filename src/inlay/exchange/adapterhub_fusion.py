"""Read AdapterHub's fusion layers: attention over adapters that are on the model already."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from inlay.adapters.attach import adapters_of
from inlay.adapters.bank import Adapters
from inlay.compose.fuse import Fuse
from inlay.errors import AdapterError, FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_files import FUSION, Checkpoint, read_checkpoint
from inlay.exchange.adapterhub_parts import Source, by_place, source_of
from inlay.methods.base import Input
from inlay.methods.bottleneck import Bottleneck
from inlay.methods.fusion import Fusion

_FIXED = {
    "residual_before": False, "temperature": False, "value_before_softmax": True, "query": True,
    "key": True,
}  # fmt: skip
"""Options whose other values no preset of the peer has."""


def load_adapterhub_fusion(
    model: nn.Module, folder: str | Path, names: Mapping[str, str] | None = None
) -> str:
    """Load the learned weights of a `Fuse` that AdapterHub has saved; it is not made active.

    Its query is what the last adapter reads, as in AdapterHub, which over parallel bottlenecks adds
    the stream once more. The bias of its keys is left out,
    since it is the same for all adapters and cancels in the softmax.

    Args:
        model: A model that has the adapters, `load_adapterhub`ed or not.
        folder: What `save_adapter_fusion` wrote.
        names: The peer's name of an adapter -> its name here, where they differ.

    Returns:
        The key of the composition, to be used like an adapter's name.

    Raises:
        FormatError: If the files are damaged, or do not fit the model or one another.
        AdapterError: If an adapter is not on the model, or `attach` was not called.
    """
    adapters = adapters_of(model)
    checkpoint = read_checkpoint(Path(folder), FUSION)
    theirs = checkpoint.facts.get("adapter_names", checkpoint.name.split(","))
    if not isinstance(theirs, list) or not all(isinstance(name, str) for name in theirs):
        raise FormatError(f"{folder}: 'adapter_names' is {theirs!r}, not a list of names.")
    children = [(names or {}).get(name, name) for name in theirs]
    for child in children:
        if child not in adapters.names:
            raise AdapterError(
                f"{folder}: these weights combine {', '.join(map(repr, children))}; load "
                f"{child!r} first, under that name."
            )
    has_value, before_norm = _config(checkpoint)
    node = Fuse(*children)
    query = _query(checkpoint, adapters, children, before_norm=before_norm)
    method = Fusion(query=query, adds_query=query == "r")
    source = source_of(checkpoint, model, adapters.sites)
    tensors = _tensors(source, has_value=has_value)
    source.check_all_used()
    entry = adapters.add_combiner(node, method, copy_heads=False)
    own = entry.tensors()
    try:
        if own.keys() != tensors.keys():
            site = sorted(own.keys() ^ tensors.keys())[0].split("/")[1]
            raise FormatError(
                f"{folder}: tensors and adapters are not at the same sites; {site!r} has only one "
                "of the two. These are other adapters than those the fusion was trained on."
            )
        with torch.no_grad():
            for key, tensor in tensors.items():
                own[key].copy_(tensor)
    except Exception:
        adapters.remove(node.key)
        raise
    return node.key


def _config(checkpoint: Checkpoint) -> tuple[bool, bool]:
    """Return whether there is a value matrix, and whether the query is the plain output."""
    where = str(checkpoint.folder / FUSION.config)
    values = checkpoint.facts["config"]
    if isinstance(values, str) and values in ("static", "dynamic"):
        values = {"value": values == "dynamic"}
    if not isinstance(values, dict):
        raise FormatError(f"{where}: 'config' is {values!r}; expected settings.")
    config = Config(where, values)
    has_value = bool(config.take("value", default=True))
    before_norm = bool(config.take("query_before_ln", default=False))
    for key, only in _FIXED.items():
        value = config.take(key, only)
        if value != only:
            raise config.wrong(key, value, repr(only))
    config.ignore("regularization", "value_initialized", "dropout_prob")
    config.done()
    return has_value, before_norm


def _query(
    checkpoint: Checkpoint, adapters: Adapters, children: list[str], *, before_norm: bool
) -> Input:
    """Return what the query is made of: what the last adapter reads."""
    read: dict[Input, str] = {}
    for name in children:
        method = adapters.entry(name).method
        if not isinstance(method, Bottleneck):
            raise FormatError(
                f"{checkpoint.folder}: {name!r} is of method {method.name!r}; a fusion of "
                "AdapterHub is over bottlenecks."
            )
        if method.norm_after or method.residual != "x" or method.gate is not False:
            raise FormatError(
                f"{checkpoint.folder}: {name!r} has a norm behind it, a gate, or a residual of its "
                "own, which AdapterHub leaves out of what it fuses; this cannot be expressed."
            )
        read.setdefault(method.input, name)
    if len(read) > 1:
        (one, first), (other, second) = list(read.items())[:2]
        raise FormatError(
            f"{checkpoint.folder}: {first!r} reads {one!r} and {second!r} {other!r}; AdapterHub "
            "gives all adapters what the last one reads, which cannot be expressed."
        )
    query = next(iter(read))
    return "x" if before_norm and query != "r" else query


def _tensors(source: Source, *, has_value: bool) -> dict[str, Tensor]:
    names = source.under("adapter_fusion_layer")
    tails = by_place(source, [(source.finder.residual(n, source.where), n) for n in names])
    tensors: dict[str, Tensor] = {}
    for site, own in tails.items():
        width = source.sites[site].width
        weights = {
            "query.weight": own.take("query.weight", width, width),
            "query.bias": own.take("query.bias", width),
            "key.weight": own.take("key.weight", width, width),
            "value.weight": own.take("value.weight", width, width)
            if has_value
            else torch.eye(width),
        }
        own.take("key.bias", width)
        tensors |= {f"combiner/{site}/{key}": value for key, value in weights.items()}
    return tensors
