"""Read what AdapterHub's `adapters` and its predecessors have saved."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from inlay.adapters.attach import adapters_of
from inlay.adapters.bank import Adapters
from inlay.adapters.copies import add_copies
from inlay.compose.nodes import Composition, names_in
from inlay.compose.stack import Stack
from inlay.errors import FormatError, InlayError, did_you_mean
from inlay.exchange.adapterhub_bottleneck import bottleneck_parts
from inlay.exchange.adapterhub_compacter import compacter_parts
from inlay.exchange.adapterhub_config import Config, configs_of
from inlay.exchange.adapterhub_files import ADAPTER, HEAD, Checkpoint, has, read_checkpoint
from inlay.exchange.adapterhub_fusion import load_adapterhub_fusion as load_adapterhub_fusion
from inlay.exchange.adapterhub_heads import HeadRead, read_head
from inlay.exchange.adapterhub_invertible import invertible_parts
from inlay.exchange.adapterhub_lora import lora_parts
from inlay.exchange.adapterhub_parts import Part, Source, joined, source_of
from inlay.exchange.adapterhub_prefix import prefix_parts
from inlay.exchange.adapterhub_reft import reft_parts

READERS: dict[str, Callable[[Source, Config], list[Part]]] = {
    "bottleneck": bottleneck_parts,
    "compacter": compacter_parts,
    "lora": lora_parts,
    "invertible": invertible_parts,
    "prefix_tuning": prefix_parts,
    "reft": reft_parts,
}
"""The peer's word for a method -> what reads it."""

NOT_READ = {
    "prompt_tuning": (
        "AdapterHub puts its vectors behind the positions and the norm of the embeddings, where "
        "no prompt of ours is, which stands in front of the words"
    ),
    "mtl_lora": (
        "it has matrices and weights for each task and picks them by task numbers in the batch, "
        "which no one adapter does; average or choose them in AdapterHub first"
    ),
}
"""The peer's word for a method that has no form here -> the reason."""

OTHER_BASES = {
    "xmod": "AdapterHub takes the language modules out of each block of such a base, which is "
    "another base then; what was trained on it would give other outputs here"
}
"""Type of model whose adapters are for another base than its own -> the reason."""

_LOST_BIAS = (
    "AdapterHub, but for its own AdapterModel classes, gives the fused map of q, k and v of this "
    "base a bias by chance, which no file holds; outputs differ by it"
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What was read."""

    composition: Composition
    """What to use: the adapter's name, or a `Stack` of its parts if several methods of it act at
    one site."""
    card: dict[str, Any]
    """Where it is from and what to know of it; plain data for `inlay.save(..., card=card)`."""


def load_adapterhub(
    model: nn.Module, folder: str | Path, name: str | None = None, *, without_head: bool = False
) -> str:
    """Load what AdapterHub has saved as one adapter; see `read_adapterhub`.

    Returns:
        The adapter's name on this model.

    Raises:
        FormatError: Also if several methods act at one site, which one name cannot stand for.
    """
    loaded = read_adapterhub(model, folder, name, without_head=without_head)
    if isinstance(loaded.composition, str):
        return loaded.composition
    for own in reversed(names_in(loaded.composition)):
        adapters_of(model).remove(own)
    raise FormatError(
        f"{folder}: several methods of the adapter act at one site; load it by "
        f"`read_adapterhub(...)`, and use the composition that this gives, {loaded.composition!r}."
    )


def read_adapterhub(
    model: nn.Module, folder: str | Path, name: str | None = None, *, without_head: bool = False
) -> Loaded:
    """Load an adapter that AdapterHub has saved, strictly; it is not made active.

    Every option must be known, every tensor have a place, and no place be without its tensors.
    Where AdapterHub departs from a paper, what it does is kept and noted in the card. A head in
    the same folder comes along. An adapter of several methods is a `Union`; if two of them act at
    one site it becomes several adapters, with `/` and the method behind its name, and a `Stack` of
    them. If anything is wrong the model is left as it was.

    Args:
        model: A model with `attach`ed adapters, of the base that the adapter was trained on. The
            checkpoint holds nothing by which that could be checked but sizes.
        folder: What `save_adapter` wrote.
        name: A name other than the saved one.
        without_head: Leave a saved head aside.

    Raises:
        FormatError: If the files are damaged, or do not fit the model or one another.
        AdapterError: If the name is taken, or `attach` was not called.
    """
    adapters, folder = adapters_of(model), Path(folder)
    checkpoint = read_checkpoint(folder, ADAPTER)
    family = checkpoint.facts.get("model_type")
    if family in OTHER_BASES:
        raise FormatError(f"{folder}: adapters of {family!r} are not read: {OTHER_BASES[family]}.")
    with adapters.original_weights():
        parts = _parts(checkpoint, model, adapters)
    head = HeadRead()
    if not without_head and has(folder, HEAD):
        head = read_head(read_checkpoint(folder, HEAD), checkpoint, model, adapters)
    name = checkpoint.name if name is None else name
    composition = _add(checkpoint, adapters, name, parts, head)
    card = _card(checkpoint, parts, head)
    if _lacks_bias(checkpoint, model, adapters):
        card["notes"].append(_LOST_BIAS)
    for own in names_in(composition):
        # Kept with the adapter, so that a saved one says where it is from.
        adapters.entry(own).imported = {**card["source"], "notes": card["notes"]}
    return Loaded(composition=composition, card=card)


def _parts(checkpoint: Checkpoint, model: nn.Module, adapters: Adapters) -> list[Part]:
    where = str(checkpoint.folder / ADAPTER.config)
    has_version = "version" in checkpoint.facts
    configs = configs_of(where, checkpoint.facts["config"], has_version=has_version)
    source = source_of(checkpoint, model, adapters.sites)
    parts: list[Part] = []
    for architecture, config in configs:
        if architecture in NOT_READ:
            why = NOT_READ[architecture]
            raise FormatError(f"{where}: architecture {architecture!r} is not read: {why}.")
        if architecture not in READERS:
            raise FormatError(
                f"{where}: architecture {architecture!r} is not supported; supported are "
                f"{', '.join(READERS)}.{did_you_mean(architecture, READERS)}"
            )
        parts += READERS[architecture](source, config)
    source.check_all_used()
    return joined(parts, adapters.sites)


def _add(
    checkpoint: Checkpoint, adapters: Adapters, name: str, parts: list[Part], head: HeadRead
) -> Composition:
    """Put the parts on the model, all or none; a head belongs to the last of them."""
    if not parts:
        raise FormatError(
            f"{checkpoint.folder}: it has no effect in AdapterHub where a batch has padding, and "
            "one that cannot be expressed where it has none."
        )
    names = [name] if len(parts) == 1 else _part_names(name, parts)
    added: list[str] = []
    try:
        for number, (own, part) in enumerate(zip(names, parts, strict=True)):
            is_last = number == len(parts) - 1
            _add_part(checkpoint, adapters, own, part, head if is_last else HeadRead())
            added.append(own)
    except Exception:
        for own in reversed(added):
            adapters.remove(own)
        raise
    return names[0] if len(names) == 1 else Stack(*names)


def _part_names(name: str, parts: list[Part]) -> list[str]:
    """Name the parts of an adapter by their methods, numbered where a method is there again."""
    names: list[str] = []
    for part in parts:
        own = f"{name}/{part.method.name}"
        count = sum(other.split(" ")[0] == own for other in names)
        names.append(f"{own} {count + 1}" if count else own)
    return names


def _add_part(
    checkpoint: Checkpoint, adapters: Adapters, name: str, part: Part, head: HeadRead
) -> None:
    tensors = part.tensors | head.tensors
    own_heads = any(key.startswith("own_head/") for key in tensors)
    try:
        entry = adapters.add(
            name, part.method, at=part.sites, head=head.module, copy_heads=own_heads, fresh=False
        )
    except InlayError as error:
        raise type(error)(f"{checkpoint.folder}: {error}") from error
    try:
        copies = [key.removeprefix("weight/") for key in tensors if key.startswith("weight/")]
        add_copies(adapters, entry, copies)
        own = entry.tensors()
        for key in sorted(own.keys() ^ tensors.keys()):
            what = "is missing" if key in own else "has no place on this model"
            raise FormatError(f"{checkpoint.folder}: what is to become {key!r} {what}.")
        with torch.no_grad():
            for key, tensor in tensors.items():
                if own[key].shape != tensor.shape:
                    raise FormatError(
                        f"{checkpoint.folder}: what is to become {key!r} is "
                        f"{list(tensor.shape)}, but this model needs {list(own[key].shape)}."
                    )
                own[key].copy_(tensor)
    except Exception:
        adapters.remove(name)
        raise


def _lacks_bias(checkpoint: Checkpoint, model: nn.Module, adapters: Adapters) -> bool:
    """Tell whether AdapterHub wrapped a fused map without a bias behind the base's loading."""
    if "AdapterModel" in str(checkpoint.facts.get("model_class", "AdapterModel")):
        return False
    maps = (model.get_submodule(s.module) for s in adapters.sites if s.kind == "qkv")
    return any(getattr(one, "bias", None) is None for one in maps)


def _card(checkpoint: Checkpoint, parts: list[Part], head: HeadRead) -> dict[str, Any]:
    labels = {} if head.labels is None else {"labels": head.labels}
    facts = checkpoint.facts
    return {
        "source": {
            "format": "adapterhub",
            **{k: v for k, v in facts.items() if isinstance(v, str)},
            "config": facts["config"],
        },
        "notes": [*(note for part in parts for note in part.notes), *head.notes],
        **labels,
    }
