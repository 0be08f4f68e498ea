"""Read what AdapterHub's `adapters` and its predecessors have saved."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from inlay.adapters.attach import adapters_of
from inlay.adapters.bank import Adapters
from inlay.errors import FormatError, InlayError, did_you_mean
from inlay.exchange.adapterhub_bottleneck import bottleneck_parts
from inlay.exchange.adapterhub_config import Config, configs_of
from inlay.exchange.adapterhub_files import ADAPTER, Checkpoint, read_checkpoint
from inlay.exchange.adapterhub_lora import lora_parts
from inlay.exchange.adapterhub_parts import Part, Source, source_of
from inlay.exchange.adapterhub_prefix import prefix_parts
from inlay.exchange.adapterhub_reft import reft_parts

READERS: dict[str, Callable[[Source, Config], list[Part]]] = {
    "bottleneck": bottleneck_parts,
    "lora": lora_parts,
    "prefix_tuning": prefix_parts,
    "reft": reft_parts,
}
"""The peer's word for a method -> what reads it."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What was read."""

    name: str
    """The adapter's name on this model."""
    card: dict[str, Any]
    """Where it is from and what to know of it; plain data for `inlay.save(..., card=card)`."""


def load_adapterhub(model: nn.Module, folder: str | Path, name: str | None = None) -> str:
    """Load an adapter that AdapterHub has saved; see `read_adapterhub`.

    Returns:
        The adapter's name on this model.
    """
    return read_adapterhub(model, folder, name).name


def read_adapterhub(model: nn.Module, folder: str | Path, name: str | None = None) -> Loaded:
    """Load an adapter that AdapterHub has saved, strictly; it is not made active.

    Every option must be known, every tensor have a place, and no place be without its tensors.
    Where AdapterHub departs from a paper, what it does is kept and noted in the card. If anything
    is wrong the model is left as it was.

    Args:
        model: A model with `attach`ed adapters, of the base that the adapter was trained on. The
            checkpoint holds nothing by which that could be checked but sizes.
        folder: What `save_adapter` wrote.
        name: A name other than the saved one.

    Raises:
        FormatError: If the files are damaged, or do not fit the model or one another.
        AdapterError: If the name is taken, or `attach` was not called.
    """
    adapters = adapters_of(model)
    checkpoint = read_checkpoint(Path(folder), ADAPTER)
    parts = _parts(checkpoint, model, adapters)
    name = checkpoint.name if name is None else name
    _add(checkpoint, adapters, name, parts)
    return Loaded(name=name, card=_card(checkpoint, parts))


def _parts(checkpoint: Checkpoint, model: nn.Module, adapters: Adapters) -> list[Part]:
    where = str(checkpoint.folder / ADAPTER.config)
    has_version = "version" in checkpoint.facts
    configs = configs_of(where, checkpoint.facts["config"], has_version=has_version)
    source = source_of(checkpoint, model, adapters.sites)
    parts: list[Part] = []
    for architecture, config in configs:
        if architecture not in READERS:
            raise FormatError(
                f"{where}: architecture {architecture!r} is not supported; supported are "
                f"{', '.join(READERS)}.{did_you_mean(architecture, READERS)}"
            )
        parts += READERS[architecture](source, config)
    source.check_all_used()
    return parts


def _add(checkpoint: Checkpoint, adapters: Adapters, name: str, parts: list[Part]) -> None:
    if len(parts) != 1:
        words = ", ".join(f"{part.method.name} at {part.sites[0]!r}" for part in parts)
        raise FormatError(
            f"{checkpoint.folder}: "
            + (f"a union of methods ({words}) is not supported." if parts else "it has no effect.")
        )
    part = parts[0]
    try:
        entry = adapters.add(name, part.method, at=part.sites, copy_heads=False)
    except InlayError as error:
        raise type(error)(f"{checkpoint.folder}: {error}") from error
    try:
        own = entry.tensors()
        if own.keys() != part.tensors.keys():
            key = sorted(own.keys() ^ part.tensors.keys())[0]
            raise FormatError(f"{checkpoint.folder}: tensor {key!r} of the method was not read.")
        with torch.no_grad():
            for key, tensor in part.tensors.items():
                if own[key].shape != tensor.shape:
                    raise FormatError(
                        f"{checkpoint.folder}: what is to become {key!r} is "
                        f"{list(tensor.shape)}, but this model needs {list(own[key].shape)}."
                    )
                own[key].copy_(tensor)
    except Exception:
        adapters.remove(name)
        raise


def _card(checkpoint: Checkpoint, parts: list[Part]) -> dict[str, Any]:
    return {
        "source": {
            "format": "adapterhub",
            **{k: v for k, v in checkpoint.facts.items() if isinstance(v, str)},
            "config": checkpoint.facts["config"],
        },
        "notes": [note for part in parts for note in part.notes],
    }
