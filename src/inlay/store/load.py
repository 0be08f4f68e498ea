"""Read an adapter from a folder onto a model; every mismatch is named."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from torch import Tensor, nn

from inlay.adapters.attach import adapters_of, attach
from inlay.adapters.bank import Adapters
from inlay.adapters.copies import add_copies
from inlay.adapters.mould import misfit
from inlay.compose.fuse import Fuse
from inlay.compose.route import Route
from inlay.compose.text import parse_composition
from inlay.errors import AdapterError, CompositionError, FormatError, SiteError
from inlay.methods.base import AbstractSiteMethod
from inlay.methods.comparators import Head
from inlay.methods.parse import combine_method_from_settings, method_from_settings
from inlay.sites.fingerprint import fingerprint
from inlay.store.manifest import (
    BELOW_FOLDER,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    CombinesRecord,
    Manifest,
    read_manifest,
)
from inlay.store.save import is_of_head, parts_of, weights_digest


def load(
    model: nn.Module,
    folder: str | Path,
    *,
    name: str | None = None,
    head: nn.Module | None = None,
    without_head: bool = False,
    other_base: bool = False,
) -> str:
    """Load a saved adapter onto a model, strictly; it is not made active.

    Every tensor that the adapter needs must be in the file, every tensor in the file must be
    used, nothing touches the base, and the base must be the one the adapter was trained on. If
    anything is wrong the model is left as it was.

    What an adapter is stacked on is loaded with it, once for all that are stacked on the same.

    Args:
        model: The base; `attach` is called on it if it has no adapters yet.
        folder: What `save` wrote.
        name: A name other than the saved one.
        head: A module for the head that the adapter was saved with, of the same shapes.
        without_head: Leave the saved heads aside, to use the adapter under another task.
        other_base: Load although the base's weights differ.

    Returns:
        The adapter's name on this model.

    Raises:
        FormatError: If the files are damaged, or do not fit the model or one another.
        AdapterError: If the name is taken, a head is needed and not given, or an adapter that
            learned weights combine is not on the model yet.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    tensors = read_tensors(folder, manifest)
    name = manifest.name if name is None else name
    if without_head:
        tensors = {key: value for key, value in tensors.items() if not is_of_head(key)}
    elif manifest.has_head and head is None:
        raise _no_head(folder, manifest)
    fresh = not hasattr(model, "adapters")
    adapters = attach(model) if fresh else adapters_of(model)
    before = adapters.names
    try:
        _check_base(folder, manifest, model, adapters, other_base=other_base)
        heads = () if without_head else tuple(manifest.own_heads)
        _check_heads(folder, heads, adapters)
        below = _below(folder, manifest, adapters, other_base=other_base)
        _add(
            folder, manifest, adapters, name, tensors, head=head, copy_heads=bool(heads),
            below=below,
        )  # fmt: skip
    except Exception:
        _take_back(adapters, before, with_all=fresh)
        raise
    return name


def _take_back(adapters: Adapters, before: Sequence[str], *, with_all: bool) -> None:
    """Leave the model with the adapters that it had, or with nothing of ours at all."""
    for new in reversed([name for name in adapters.names if name not in before]):
        adapters.remove(new)
    if with_all:
        model = adapters.model
        adapters.close()
        del model.adapters


def _no_head(folder: Path, manifest: Manifest) -> AdapterError:
    return AdapterError(
        f"{folder}: the adapter has a head for task {manifest.card.get('task')!r}. Use "
        "`inlay.load_predictor(folder)`, or pass the module for it: load(..., head=module)."
    )


def load_once(model: nn.Module, folder: str | Path, *, other_base: bool = False) -> str:
    """Return an adapter on the model that is the saved one, heads aside; load it if there is none.

    Args:
        model: The base.
        folder: What `save` wrote.
        other_base: Load although the base's weights differ.

    Raises:
        FormatError: If the files are damaged, or do not fit the model or one another.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    tensors = read_tensors(folder, manifest)
    adapters = attach(model) if not hasattr(model, "adapters") else adapters_of(model)
    for name in adapters.names:
        if name not in adapters.in_training and _is_saved_as(adapters, name, manifest, tensors):
            return name
    name, number = manifest.name, 2
    while name in adapters.names:
        name, number = f"{manifest.name}-{number}", number + 1
    return load(model, folder, name=name, without_head=True, other_base=other_base)


def _is_saved_as(
    adapters: Adapters, name: str, manifest: Manifest, tensors: Mapping[str, Tensor]
) -> bool:
    """Tell whether an adapter computes what a saved one does; stops at the first difference."""
    entry = adapters.entry(name)
    if entry.combines is not None or manifest.combines is not None or entry.weights:
        return False
    sites = manifest.placement.sites if manifest.placement else []
    if list(entry.layers) != sites or entry.method != method_from_settings(manifest.method):
        return False
    own = entry.tensors()
    if not all(
        key in own and torch.equal(own[key].detach().cpu().to(value.dtype), value)
        for key, value in tensors.items()
        if not is_of_head(key)
    ):
        return False
    if entry.stack_on is None or manifest.stack_on is None:
        return entry.stack_on is None and manifest.stack_on is None
    return weights_digest(adapters.entry(entry.stack_on)) == manifest.stack_on.weights


def _below(folder: Path, manifest: Manifest, adapters: Adapters, *, other_base: bool) -> str | None:
    """Put what an adapter is stacked on in place; returns its name on the model."""
    if manifest.stack_on is None:
        return None
    place = folder / BELOW_FOLDER
    if not (place / MANIFEST_FILE).is_file():
        raise FormatError(
            f"{folder}: the adapter is stacked on {manifest.stack_on.name!r}, whose files should "
            f"be in {place} and are not. Copy the whole folder."
        )
    name = load_once(adapters.model, place, other_base=other_base)
    if weights_digest(adapters.entry(name)) != manifest.stack_on.weights:
        raise FormatError(
            f"{place} holds another adapter than the {manifest.stack_on.name!r} that "
            f"{manifest.name!r} was trained on top of; the folder was changed."
        )
    return name


def read_tensors(folder: Path, manifest: Manifest) -> dict[str, Tensor]:
    """Read the tensors and check them against the manifest.

    Raises:
        FormatError: If the file is missing, damaged, no safetensors file, or disagrees.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        others = ", ".join(sorted(p.name for p in folder.iterdir() if p.name != MANIFEST_FILE))
        raise FormatError(
            f"{folder} has no {WEIGHTS_FILE} (found: {others or 'nothing else'}). Pickled weights "
            "are never read; save the adapter again."
        )
    try:
        tensors = from_safetensors(path.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise FormatError(
            f"{path} is damaged or no safetensors file ({error}). Copy it again from the source."
        ) from error
    for key in sorted(manifest.tensors):
        if key not in tensors:
            raise FormatError(f"{path}: tensor {key!r} is missing; the file is incomplete.")
    for key, tensor in sorted(tensors.items()):
        if key not in manifest.tensors:
            what = (
                "is none of an adapter's tensors (weights of a base are never loaded)"
                if key.partition("/")[0] not in ("site", "combiner", "weight", "head", "own_head")
                else f"is not listed in {MANIFEST_FILE}"
            )
            raise FormatError(f"{path}: tensor {key!r} {what}; the file was changed.")
        if list(tensor.shape) != manifest.tensors[key]:
            raise FormatError(
                f"{path}: tensor {key!r} has shape {list(tensor.shape)}, but {MANIFEST_FILE} says "
                f"{manifest.tensors[key]}; the file was changed."
            )
    return tensors


def _check_base(
    folder: Path, manifest: Manifest, model: nn.Module, adapters: Adapters, *, other_base: bool
) -> None:
    with adapters.original_weights():
        mark = fingerprint(model, adapters.sites)
    if mark == manifest.base.fingerprint or other_base:
        return
    ours = getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__
    raise FormatError(
        f"{folder}: the adapter was trained on {manifest.base.id or manifest.base.model_class!r} "
        f"(weights {manifest.base.fingerprint[:8]}), but this model is {ours!r} "
        f"(weights {mark[:8]}). Load that base, or pass other_base=True if you know they fit."
    )


def _check_heads(folder: Path, saved: tuple[str, ...], adapters: Adapters) -> None:
    for path in saved:
        if path not in adapters.own_heads:
            raise FormatError(
                f"{folder}: the adapter was saved with the head {path!r}, which "
                f"{type(adapters.model).__name__} does not have. Load it on the task class it "
                "was saved from, or pass without_head=True."
            )


def _add(
    folder: Path,
    manifest: Manifest,
    adapters: Adapters,
    name: str,
    tensors: dict[str, Tensor],
    *,
    head: nn.Module | None,
    copy_heads: bool,
    below: str | None,
) -> None:
    placement = manifest.placement
    try:
        if manifest.combines is not None:
            node = _combination(folder, manifest.combines, adapters, name)
            how = combine_method_from_settings(manifest.method)
            entry = adapters.add_combiner(node, how, head=head, copy_heads=copy_heads)
        else:
            # The sites are named one by one, so that the file decides and not today's query.
            where = placement.sites if placement else None
            method = method_from_settings(manifest.method)
            entry = adapters.add(
                name,
                method,
                at=where,
                head=head,
                copy_heads=copy_heads,
                fresh=False,
                stack_on=below,
            )
    except SiteError as error:
        raise FormatError(f"{folder}: the adapter does not fit this model: {error}") from error
    try:
        entry.restore_placement(
            None if placement is None else (placement.at, placement.layers, placement.submodel)
        )
        if isinstance(entry.method, AbstractSiteMethod | Head):
            add_copies(adapters, entry, [key[7:] for key in tensors if key.startswith("weight/")])
        _copy_into(folder, entry.tensors(), tensors)
        entry.blend, entry.imported = manifest.card.get("blend"), manifest.card.get("imported")
    except Exception:
        adapters.remove(name)
        raise


def _combination(
    folder: Path, record: CombinesRecord, adapters: Adapters, name: str
) -> Fuse | Route:
    """Return what learned weights are over, if these very adapters are on the model."""
    try:
        node = parse_composition(record.composition)
    except CompositionError as error:
        raise FormatError(f"{folder}: the composition is damaged: {error}") from error
    if not isinstance(node, Fuse | Route):
        raise FormatError(f"{folder}: {record.composition!r} is no fuse(...) or route(...).")
    for child in parts_of(node):
        if child not in adapters.names:
            raise AdapterError(
                f"{folder}: these weights combine {', '.join(map(repr, parts_of(node)))}; load "
                f"{child!r} first, under that name."
            )
        if weights_digest(adapters.entry(child)) != record.adapters.get(child):
            raise FormatError(
                f"{folder}: these weights were learned over another {child!r} than the one on "
                "this model; load that one."
            )
    return node if node.key == name else type(node)(*node.children, name=name)


def _copy_into(folder: Path, own: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    shapes = {key: tensor.shape for key, tensor in own.items()}
    if problem := misfit(shapes, saved):
        raise FormatError(f"{folder}: {problem}")
    with torch.no_grad():
        for key, tensor in saved.items():
            own[key].copy_(tensor)
