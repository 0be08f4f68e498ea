"""Write an adapter to a folder: a manifest and a safetensors file."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import nn

from inlay.adapters.attach import adapters_of
from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.compose.fuse import Fuse
from inlay.compose.nodes import names_in
from inlay.compose.plan import combiners_in
from inlay.compose.route import Route
from inlay.errors import FormatError
from inlay.sites.fingerprint import fingerprint
from inlay.store.atomic import folder_atomically
from inlay.store.manifest import (
    BELOW_FOLDER,
    FORMAT_VERSION,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    BaseRecord,
    CombinesRecord,
    Manifest,
    PlacementRecord,
    StackRecord,
)


def save(
    model: nn.Module, name: str, folder: str | Path, *, card: Mapping[str, Any] | None = None
) -> None:
    """Save one adapter with its heads; the base is only named by its fingerprint.

    What it is stacked on is saved beside it without heads, so that the folder is all it needs.

    The learned weights of a `Fuse` or `Route` are saved in the same way under their key; the
    adapters they are over are not in the file, only their names and a hash of their weights.

    The folder appears whole or not at all. A folder that holds a saved adapter is replaced;
    any other folder that is not empty is refused.

    Args:
        model: A model with adapters.
        name: Which of them, or the key of a learned combination.
        folder: Where to.
        card: Plain data kept beside the weights, such as task, labels and metrics.

    Raises:
        AdapterError: If there is no such adapter.
        FormatError: If the folder holds something else.
    """
    adapters = adapters_of(model)
    entry = adapters.entry(name)
    folder = Path(folder)
    if folder.exists() and not _may_replace(folder):
        raise FormatError(
            f"{folder} is not empty and holds no saved adapter; choose another folder."
        )
    with folder_atomically(folder) as temporary:
        _write(temporary, adapters, entry, card or {})
        target = temporary
        while entry.stack_on is not None:
            entry, target = adapters.entry(entry.stack_on), target / BELOW_FOLDER
            target.mkdir()
            _write(target, adapters, entry, {}, without_heads=True)


def _write(
    folder: Path,
    adapters: Adapters,
    entry: Entry,
    card: Mapping[str, Any],
    *,
    without_heads: bool = False,
) -> None:
    """Write the two files of one adapter."""
    tensors = {
        key: value.detach().cpu().contiguous()
        for key, value in entry.tensors().items()
        if not (without_heads and is_of_head(key))
    }
    manifest = _manifest(adapters, entry, card, tensors, without_heads=without_heads)
    (folder / WEIGHTS_FILE).write_bytes(to_safetensors(tensors))
    # Left out where there is nothing, so that older libraries read the file.
    rare = ("combines", "stack_on")
    plain = manifest.model_dump(exclude={key for key in rare if getattr(manifest, key) is None})
    text = json.dumps(plain, indent=2, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def _manifest(
    adapters: Adapters,
    entry: Entry,
    card: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    *,
    without_heads: bool,
) -> Manifest:
    model = adapters.model
    with adapters.original_weights():
        mark = fingerprint(model, adapters.sites)
    config = getattr(model, "config", None)
    return Manifest(
        format="inlay-adapter",
        format_version=FORMAT_VERSION,
        library_version=version("inlay"),
        name=entry.name,
        method=entry.method.settings(),
        placement=_placement(entry),
        base=BaseRecord(
            id=getattr(config, "_name_or_path", None) or None,
            revision=getattr(config, "_commit_hash", None),
            fingerprint=mark,
            model_class=type(model).__name__,
            sites_digest=adapters.sites.digest(),
        ),
        has_head=entry.head is not None and not without_heads,
        own_heads=[] if without_heads else list(entry.own_heads),
        tensors={key: list(value.shape) for key, value in tensors.items()},
        combines=_combines(adapters, entry),
        stack_on=_stack_on(adapters, entry),
        card=_card(entry) | dict(card),
    )


def _card(entry: Entry) -> dict[str, Any]:
    """Return what an adapter knows of where it is from."""
    known = {"blend": entry.blend, "imported": entry.imported}
    return {key: value for key, value in known.items() if value is not None}


def _placement(entry: Entry) -> PlacementRecord | None:
    if entry.placement is None:
        return None
    return PlacementRecord(
        at=entry.placement.at, layers=entry.placement.layers, submodel=entry.placement.submodel,
        sites=list(entry.layers),
    )  # fmt: skip


def _combines(adapters: Adapters, entry: Entry) -> CombinesRecord | None:
    if entry.combines is None:
        return None
    return CombinesRecord(
        composition=str(entry.combines),
        adapters={n: weights_digest(adapters.entry(n)) for n in parts_of(entry.combines)},
    )


def _stack_on(adapters: Adapters, entry: Entry) -> StackRecord | None:
    if entry.stack_on is None:
        return None
    return StackRecord(name=entry.stack_on, weights=weights_digest(adapters.entry(entry.stack_on)))


def is_of_head(tensor: str) -> bool:
    """Tell by its name in the file whether a tensor belongs to a head."""
    return tensor.startswith(("head/", "own_head/"))


def parts_of(node: Fuse | Route) -> tuple[str, ...]:
    """List what learned weights depend on: adapters, and the keys of inner combinations."""
    return (*names_in(node), *(inner.key for inner in combiners_in(node)[1:]))


def weights_digest(entry: Entry) -> str:
    """Return a hash of what acts at sites, heads left out."""
    digest = hashlib.sha256()
    for key, tensor in sorted(entry.tensors().items()):
        if key.startswith(("site/", "combiner/")):
            digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
            digest.update(flat.numpy().tobytes())
    return digest.hexdigest()[:32]


def _may_replace(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return (folder / MANIFEST_FILE).is_file() or not any(folder.iterdir())
