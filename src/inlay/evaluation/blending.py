"""A new saved adapter made of saved adapters of one base."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

from torch import nn

from inlay.adapters.attach import attach
from inlay.adapters.blend import Blend, blend
from inlay.adapters.blended_heads import Heads
from inlay.adapters.recipe import Way, weighted_parts
from inlay.errors import AdapterError, ConfigError, FormatError
from inlay.evaluation.predictor import output_width
from inlay.store.bases import load_base, resolve_base
from inlay.store.load import load
from inlay.store.manifest import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    Manifest,
    adapter_folder,
    read_manifest,
)
from inlay.store.save import save
from inlay.tasks.base import AbstractTask
from inlay.tasks.options import changeable
from inlay.tasks.registry import task_from_settings

_FITTED = frozenset({"temperature", "threshold", "dropout"})
"""Settings of a task that do not say what is asked or answered."""


@final
class BlendSaved(NamedTuple):
    """What was written."""

    folder: Path
    blend: Blend
    notes: list[str]
    """What is to be known before the new adapter is used."""


class _Saved(NamedTuple):
    name: str
    folder: Path
    manifest: Manifest
    task: AbstractTask | None


def blend_saved(
    parts: Mapping[str | Path, float] | Sequence[str | Path],
    out: str | Path,
    *,
    method: Way = "linear",
    rank: int | None = None,
    density: float | None = None,
    scaling: float = 1.0,
    seed: int = 0,
    origin: str | Path | None = None,
    heads: Heads = "same",
    head_of: str | Path | None = None,
    base: str | None = None,
    name: str | None = None,
) -> BlendSaved:
    """Blend saved adapters and save the result, which `inlay.load_predictor` and `load` read.

    Args:
        parts: Run or adapter folder -> weight, or folders alone, as for `inlay.blend`.
        out: The new adapter's folder; a saved adapter in it is replaced.
        method: How, see `inlay.blend`.
        rank: Of a new LoRA.
        density: For ties and dare.
        scaling: For task-arithmetic, ties and dare.
        seed: For dare.
        origin: The folder of the adapter that task vectors are differences to.
        heads: As for `inlay.blend`; with `"leave-out"` the new adapter has no task either.
        head_of: The folder whose head, labels and task are taken.
        base: Another place of the base: an alias, a folder or a Hub name.
        name: The new adapter's name; that of its folder by default.

    Raises:
        FormatError: If files are damaged, or the adapters belong to different bases.
        BaseError: If the base is not to be found.
        ConfigError: If a setting is not allowed or has no effect.
        AdapterError: If the adapters or their tasks cannot be blended so.
    """
    weights = _weights(parts, method)
    saved = [_read(key) for key in weights]
    start = None if origin is None else _read(str(Path(origin)))
    chosen = _chosen(saved, heads, head_of)
    everything = [*saved, *([start] if start is not None and start.name not in weights else [])]
    model, where = _loaded(everything, base, bare=heads == "leave-out", without=start)
    out = Path(out)
    made = blend(
        model, name or out.resolve().name, weights, method=method, rank=rank, density=density,
        scaling=scaling, seed=seed, origin=None if start is None else start.name, heads=heads,
        head_of=chosen.name if chosen and head_of is not None and _has_head(chosen) else None,
    )  # fmt: skip
    card = _card(saved, chosen, where) | {"blend": _record(made, everything)}
    save(model, made.name, out, card=card)
    return BlendSaved(out, made, _notes(chosen, saved))


def _weights(
    parts: Mapping[str | Path, float] | Sequence[str | Path], method: str
) -> dict[str, float]:
    """Return folder -> weight."""
    folders = [parts] if isinstance(parts, str | Path) else list(parts)
    shares = weighted_parts([str(Path(folder)) for folder in folders], method)
    if isinstance(parts, Mapping):
        return dict(zip(shares, map(float, parts.values()), strict=True))
    return shares


def _read(key: str) -> _Saved:
    folder = adapter_folder(key)
    manifest = read_manifest(folder)
    settings = manifest.card.get("task")
    task = None
    if settings is not None:
        task = task_from_settings(settings, str(folder / MANIFEST_FILE))
    return _Saved(key, folder, manifest, task)


def _chosen(saved: Sequence[_Saved], heads: str, head_of: str | Path | None) -> _Saved | None:
    """Return whose task the new adapter has, or `None` if it has none."""
    if head_of is not None:
        for one in saved:
            if one.name == str(Path(head_of)):
                return one
        raise ConfigError(
            f"head_of={str(head_of)!r} is none of the adapters: "
            f"{', '.join(one.name for one in saved)}."
        )
    if heads == "leave-out":
        return None
    first = saved[0]
    for other in saved[1:]:
        if _asked(other) != _asked(first):
            raise AdapterError(
                f"{first.name} is for {_words(first)} and {other.name} for {_words(other)}. Say "
                "what becomes of their tasks: head_of (--head-of RUN) takes one with its head; "
                "heads='leave-out' (--heads leave-out) keeps none."
            )
    return first if first.task is not None else None


def _asked(saved: _Saved) -> Any:
    """Return a task's settings without what is fitted or can be chosen after training."""
    if saved.task is None:
        return None
    return _without(_FITTED | {"shares"} | changeable(saved.task), saved.task.settings())


def _without(left_out: Collection[str], plain: Any) -> Any:
    if isinstance(plain, Mapping):
        return {key: _without(left_out, v) for key, v in plain.items() if key not in left_out}
    return [_without(left_out, item) for item in plain] if isinstance(plain, list) else plain


def _words(saved: _Saved) -> str:
    if saved.task is None:
        return "no task"
    labels = list(saved.task.settings().get("labels") or ())
    few = f" ({', '.join(map(str, labels[:5]))}{', ...' if len(labels) > 5 else ''})"
    return f"task {saved.task.name!r}{few if labels else ''}"


def _loaded(
    saved: Sequence[_Saved], base: str | None, *, bare: bool, without: _Saved | None
) -> tuple[nn.Module, str]:
    """Load all adapters onto one copy of their base, each under its folder.

    Args:
        saved: The adapters.
        base: Another place of the base.
        bare: Whether all heads are left aside.
        without: The one that is there for its weights only, so that it needs no head.
    """
    first = saved[0]
    for other in saved[1:]:
        if other.manifest.base.fingerprint != first.manifest.base.fingerprint:
            raise FormatError(
                f"{first.name} was trained on {_base(first)} and {other.name} on {_base(other)}. "
                "Only adapters of one base can be blended."
            )
    needs = {one.task.needs for one in saved if one.task is not None} or {"encoder"}
    if len(needs) > 1:
        raise AdapterError(
            f"the tasks of these adapters need their base as {' and as '.join(sorted(needs))}; "
            "blend adapters of one kind of task."
        )
    found = resolve_base(base or first.manifest.card.get("base") or first.manifest.base.id or "")
    # In float32 whatever it ran in, since comparators are differences to the base's own weights.
    model, _ = load_base(found, dtype="float32", needs=needs.pop())
    width = output_width(attach(model).sites)
    for one in saved:
        headless = bare or one is without
        head = None if headless or one.task is None else one.task.build_head(width)
        load(model, one.folder, name=one.name, head=head, without_head=headless)
    return model, str(Path(found.source).resolve()) if found.origin == "on disk" else found.id


def _base(saved: _Saved) -> str:
    base = saved.manifest.base
    return f"{base.id or base.model_class!r} (weights {base.fingerprint[:8]})"


def _has_head(saved: _Saved) -> bool:
    return saved.manifest.has_head or bool(saved.manifest.own_heads)


def _card(saved: Sequence[_Saved], chosen: _Saved | None, base: str) -> dict[str, Any]:
    """Return what the layers above need; no metrics, since nothing was measured."""
    if chosen is None:
        return {"base": base}
    old = chosen.manifest.card
    card: dict[str, Any] = {
        key: old[key] for key in ("task", "max_length", "numerics") if key in old
    }
    if all(one is chosen or one.manifest.card.get("data") == old.get("data") for one in saved):
        card |= {"data": old["data"]} if "data" in old else {}
    return card | {"base": base}


def _record(made: Blend, saved: Sequence[_Saved]) -> dict[str, Any]:
    """Return what the adapter was made of, with a hash of each file."""
    digests = {
        one.name: hashlib.sha256((one.folder / WEIGHTS_FILE).read_bytes()).hexdigest()
        for one in saved
    }
    return made.record() | {"sha256": digests}


def _notes(chosen: _Saved | None, saved: Sequence[_Saved]) -> list[str]:
    if chosen is None:
        return ["the new adapter has no head and no task; load it by inlay.load"]
    notes = []
    options = {} if chosen.task is None else chosen.task.options
    chosen_by_hand = {name for name, when in options.items() if when != "afterwards"}
    fitted = _FITTED & set(chosen.manifest.card.get("task", {})) - chosen_by_hand
    if fitted and len(saved) > 1:
        notes.append(
            f"the {' and '.join(sorted(fitted))} of {chosen.name} is kept and was not fitted anew"
        )
    return [*notes, "nothing was measured: see inlay evaluate"]
