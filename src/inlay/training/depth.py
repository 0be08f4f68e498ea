"""How deep must adapters reach? The same adapter over more and fewer blocks, by validation."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, final

from typing_extensions import override

from inlay.adapters.attach import attach
from inlay.errors import ConfigError
from inlay.sites.placement import blocks_named
from inlay.store.atomic import write_atomically
from inlay.store.bases import load_base, resolve_base
from inlay.training.config import TrainConfig
from inlay.training.many import train_many
from inlay.training.reporter import Reporter
from inlay.training.search import AbstractTried, folder_for, metric_of
from inlay.training.trial import Trained

DEPTH_FILE = "depth.json"

DEPTHS = ("all", "upper", "-1", "upper 3/4", "upper 1/4")
"""What is tried; of those that come to the same blocks of a base the first one."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AtDepth(AbstractTried):
    """One placement over its seeds."""

    layers: str
    num_blocks: int
    """Blocks with adapters, of all submodels."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval over validation rows, its ends averaged over the seeds.

        `None` where a report has none, as for tasks whose answers are written.
        """
        found = [_interval(one) for one in self.trained]
        known = [ends for ends in found if ends is not None]
        if len(known) < len(found):
            return None
        return fmean(low for low, _ in known), fmean(high for _, high in known)

    @property
    def seconds(self) -> float:
        """Mean time of a training in seconds, less what a training of fewer blocks had computed."""
        return fmean(one.seconds for one in self.trained)

    @property
    def num_adapter_parameters(self) -> int:
        """Weights of the adapter."""
        return max(one.num_adapter_parameters for one in self.trained)

    @override
    def about(self) -> dict[str, Any]:
        return {
            "layers": self.layers,
            "blocks": self.num_blocks,
            "interval": self.interval,
            "seconds": round(self.seconds, 2),
            "adapter_parameters": self.num_adapter_parameters,
        }


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Depth:
    """What was found, fewest blocks first."""

    tried: tuple[AtDepth, ...]
    metric: str
    folder: Path

    @property
    def recommended(self) -> AtDepth:
        """The fewest blocks that are as good as the best within its standard error.

        That is the one-standard-error rule (Breiman et al. 1984); without an interval the best.

        Raises:
            InlayError: Why there is none.
        """
        return _recommended(self.tried)


def depth(
    data: str | Path,
    *,
    seeds: int = 1,
    reporter: Reporter | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> Depth:
    """Train one method in the last block, the upper quarter, half, three quarters and all blocks.

    All train in one process on one copy of the base. What blocks without adapters compute for a
    row is computed once for all depths. The recommended one is measured on test, with the first
    seed; the same call goes on with a search that was interrupted.

    Args:
        data: File, folder, built-in or Hub name.
        seeds: Runs of each depth, with seeds from the training's own upwards.
        reporter: Is told what happens.
        out: Folder of the runs; named by the settings, in `runs/`, if not given.
        settings: Any other field of `TrainConfig`.

    Raises:
        ConfigError: If a setting is not known or a value not allowed, or `layers` is given.
        DataError: If the data cannot be used.
        BaseError: If the base cannot be used.
        Interrupted: If a signal asked to stop; checkpoints were written.
    """
    if settings.get("layers") is not None:
        raise ConfigError(
            f"depth: layers={settings['layers']!r} is what is searched; leave it out."
        )
    if seeds < 1:
        raise ConfigError(f"depth: seeds={seeds}; it must be at least 1.")
    first = int(settings.pop("seed", 1))
    folder = Path(out or folder_for("depth", data, [seeds, first, settings]))
    known = _depths(settings)
    asked = [
        {
            **settings, "data": str(data), "layers": layers, "seed": seed,
            "out": str(folder / f"{layers.replace(' ', '-').replace('/', 'of')}-seed{seed}"),
        }
        for layers in known
        for seed in range(first, first + seeds)
    ]  # fmt: skip

    def choose(at_end: Sequence[Trained]) -> list[int]:
        return [_recommended(_grouped(at_end, known)).trained[0].number] if at_end else []

    trained = train_many(asked, reporter=reporter, reports=True, choose=choose)
    found = Depth(tried=_grouped(trained, known), metric=metric_of(trained), folder=folder)
    write_atomically(folder / DEPTH_FILE, json.dumps(record(found), indent=2) + "\n")
    return found


def _depths(settings: dict[str, Any]) -> dict[str, int]:
    """Return the placements that differ on a base, each with its number of blocks.

    Those with fewest blocks come first, so that one pass over the trunk serves all.
    """
    name = str(settings.get("base") or TrainConfig.model_fields["base"].default)
    sites = attach(load_base(resolve_base(name))[0]).sites
    submodels = sites.submodels()
    if settings.get("submodel") is not None:
        submodels = tuple(own for own in submodels if own in str(settings["submodel"]).split(","))
    found: dict[str, int] = {}
    for layers in DEPTHS:
        number = sum(len(blocks_named(layers, sites.num_blocks(own))) for own in submodels)
        if number not in found.values():
            found[layers] = number
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _grouped(trained: Sequence[Trained], known: Mapping[str, int]) -> tuple[AtDepth, ...]:
    own = {layers: [t for t in trained if t.settings["layers"] == layers] for layers in known}
    return tuple(
        AtDepth(layers=layers, num_blocks=known[layers], trained=tuple(found))
        for layers, found in own.items()
        if found
    )


def _recommended(tried: Sequence[AtDepth]) -> AtDepth:
    whole = [one for one in tried if one.is_whole]
    if not whole:
        raise next(t.error for one in tried for t in one.trained if t.error is not None)
    best = max(whole, key=lambda one: one.mean)
    if best.interval is None:
        return best
    # A 95 % interval is 2 * 1.96 standard errors wide.
    error = (best.interval[1] - best.interval[0]) / (2 * 1.96)
    return min(
        (one for one in whole if one.mean >= best.mean - error), key=lambda one: one.num_blocks
    )


def _interval(one: Trained) -> tuple[float, float] | None:
    report = one.report or {}
    ends = report.get(f"{report.get('metric')}_ci")
    return None if ends is None else (float(ends[0]), float(ends[1]))


def record(found: Depth) -> dict[str, Any]:
    """Return what was found as plain data, fewest blocks first."""
    return {
        "metric": found.metric,
        "recommended": found.recommended.layers,
        "depths": [one.record() for one in found.tried],
    }
