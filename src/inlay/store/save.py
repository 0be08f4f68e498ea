"""Write an adapter to a folder: a manifest and a safetensors file."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_safetensors
from torch import nn

from inlay.adapters.attach import adapters_of
from inlay.errors import FormatError
from inlay.sites.fingerprint import fingerprint
from inlay.store.atomic import folder_atomically
from inlay.store.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    BaseRecord,
    Manifest,
    PlacementRecord,
)


def save(
    model: nn.Module, name: str, folder: str | Path, *, card: Mapping[str, Any] | None = None
) -> None:
    """Save one adapter with its heads; the base is only named by its fingerprint.

    The folder appears whole or not at all. A folder that holds a saved adapter is replaced;
    any other folder that is not empty is refused.

    Args:
        model: A model with adapters.
        name: Which of them.
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
    tensors = {key: value.detach().cpu().contiguous() for key, value in entry.tensors().items()}
    placement = None
    if entry.placement is not None:
        placement = PlacementRecord(
            at=entry.placement.at, layers=entry.placement.layers,
            submodel=entry.placement.submodel, sites=list(entry.layers),
        )  # fmt: skip
    with adapters.original_weights():
        mark = fingerprint(model, adapters.sites)
    config = getattr(model, "config", None)
    manifest = Manifest(
        format="inlay-adapter",
        format_version=FORMAT_VERSION,
        library_version=version("inlay"),
        name=name,
        method=entry.method.settings(),
        placement=placement,
        base=BaseRecord(
            id=getattr(config, "_name_or_path", None) or None,
            revision=getattr(config, "_commit_hash", None),
            fingerprint=mark,
            model_class=type(model).__name__,
            sites_digest=adapters.sites.digest(),
        ),
        has_head=entry.head is not None,
        own_heads=list(entry.own_heads),
        tensors={key: list(value.shape) for key, value in tensors.items()},
        card=dict(card or {}),
    )
    with folder_atomically(folder) as temporary:
        (temporary / WEIGHTS_FILE).write_bytes(to_safetensors(tensors))
        text = json.dumps(manifest.model_dump(), indent=2, ensure_ascii=False)
        (temporary / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def _may_replace(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return (folder / MANIFEST_FILE).is_file() or not any(folder.iterdir())
