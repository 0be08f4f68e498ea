"""A search over settings: every combination, or some, by validation, on one base."""

import dataclasses
import functools
import itertools
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, final

from typing_extensions import override

from inlay.errors import ConfigError, did_you_mean
from inlay.methods.parse import parse_method
from inlay.store.atomic import write_atomically
from inlay.training.config import ALIASES, TrainConfig
from inlay.training.many import train_many
from inlay.training.reporter import Reporter
from inlay.training.search import AbstractTried, folder_for, metric_of
from inlay.training.train import Run
from inlay.training.trial import Trained

SWEEP_FILE = "sweep.json"

_POINTS = 4
"""Values of a range if their number is not given."""

_RANGE = re.compile(
    r"(?P<scale>log|lin):(?P<low>[^.:]+(?:\.\d+)?(?:[eE][-+]?\d+)?)\.\."
    r"(?P<high>[^:]+)(?::(?P<points>\d+))?"
)
_NOT_SEARCHED = ("data", "out", "seed", "base", "task")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Point(AbstractTried):
    """One combination of settings, over its seeds."""

    settings: dict[str, Any]

    @property
    def epochs(self) -> float:
        """Epochs of the seed that got furthest."""
        return max(one.epochs for one in self.trained)

    @property
    def rung(self) -> int:
        """Up to which comparison it went on; epochs would set one that needs fewer behind."""
        return max(one.rung for one in self.trained)

    @override
    def about(self) -> dict[str, Any]:
        seconds = round(sum(one.seconds for one in self.trained), 2)
        return {"settings": self.settings, "epochs": self.epochs, "seconds": seconds}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What a search has found, best first; those that got further come before others."""

    points: tuple[Point, ...]
    metric: str
    folder: Path

    @property
    def best(self) -> Run:
        """The finished run of the best combination.

        Raises:
            InlayError: Why there is none.
        """
        done = [t for point in self.points for t in point.trained if t.state == "finished"]
        failed = [t.error for point in self.points for t in point.trained if t.error is not None]
        if not done and failed:
            raise failed[0]
        return done[0].run


def values_of(key: str, text: str) -> list[Any]:
    """Read the values of a setting: `4,8,16`, `log:1e-4..3e-3` or `lin:0..0.2:5`.

    Args:
        key: The setting, for messages.
        text: A list, or a range with the number of points behind a colon.

    Raises:
        ConfigError: If it cannot be read, or a range has no values.

    Example:
        >>> values_of("reduction", "4,8")
        [4, 8]
        >>> values_of("learning_rate", "log:1e-4..1e-2:3")
        [0.0001, 0.001, 0.01]
    """
    if text.startswith(("log:", "lin:")):
        match = _RANGE.fullmatch(text)
        try:
            ends = [] if match is None else [float(match["low"]), float(match["high"])]
        except ValueError:
            ends = []
        if match is None or len(ends) != 2:
            raise ConfigError(f"{key}={text!r}: a range is log:LOW..HIGH or lin:LOW..HIGH:POINTS.")
        low, high = ends
        number = int(match["points"] or _POINTS)
        if not low < high or number < 2 or (match["scale"] == "log" and low <= 0):
            raise ConfigError(
                f"{key}={text!r}: LOW must be below HIGH (and above 0 for log), with 2 points or "
                "more."
            )
        steps = [step / (number - 1) for step in range(number)]
        if match["scale"] == "log":
            found = [low * (high / low) ** step for step in steps]
        else:
            found = [low + (high - low) * step for step in steps]
        return [float(f"{value:.4g}") for value in found]
    values = [_plain(part.strip()) for part in text.split(",") if part.strip()]
    if not values:
        raise ConfigError(f"{key}={text!r}: there is no value to try.")
    return values


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def sweep(
    data: str | Path,
    parameters: Mapping[str, str | Sequence[Any]],
    *,
    seeds: int = 1,
    trials: int | None = None,
    halving: int | None = None,
    slots: int | None = None,
    reporter: Reporter | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> Sweep:
    """Train with every combination of some settings, and finish the best one by validation.

    All train in one process on one copy of the base, and rows that the frozen blocks have seen
    once are not computed again. The same call goes on with a sweep that was interrupted.

    Args:
        data: File, folder, built-in or Hub name.
        parameters: Setting of the training or of its method -> values, as a list or as text, see
            `values_of`.
        seeds: Runs of each combination, with seeds from the training's own upwards.
        trials: Try so many combinations, drawn at random; all if not given.
        halving: See `train_many`.
        slots: See `train_many`.
        reporter: Is told what happens.
        out: Folder of the runs; named by the settings, in `runs/`, if not given.
        settings: Any other field of `TrainConfig`.

    Raises:
        ConfigError: If a setting is not known or a value not allowed; nothing has been trained.
        DataError: If the data cannot be used.
        Interrupted: If a signal asked to stop; checkpoints were written.
    """
    if not parameters:
        raise ConfigError("sweep: name what to search, like learning_rate=log:1e-4..3e-3.")
    if seeds < 1 or (trials is not None and trials < 1):
        raise ConfigError(f"sweep: seeds={seeds}, trials={trials}; both are at least 1.")
    first = int(settings.pop("seed", 1))
    grid = grid_of(parameters, trials, seed=first)
    folder = Path(out or folder_for("sweep", data, [grid, seeds, first, settings]))
    asked = [
        {
            **with_values(settings, point), "data": str(data), "seed": seed,
            "out": str(folder / f"{number:03d}-seed{seed}"),
        }
        for number, point in enumerate(grid)
        for seed in range(first, first + seeds)
    ]  # fmt: skip
    choose = functools.partial(_best_of, seeds=seeds)
    trained = train_many(
        asked, reporter=reporter, halving=halving, slots=slots, choose=choose, seeds=seeds
    )
    points = [
        Point(settings=p, trained=tuple(trained[i * seeds :][:seeds])) for i, p in enumerate(grid)
    ]
    points.sort(key=lambda point: (-point.rung, -point.is_whole, -point.mean))
    found = Sweep(points=tuple(points), metric=metric_of(trained), folder=folder)
    write_atomically(folder / SWEEP_FILE, json.dumps(record(found), indent=2) + "\n")
    return found


def grid_of(
    parameters: Mapping[str, str | Sequence[Any]], trials: int | None, *, seed: int
) -> list[dict[str, Any]]:
    """Return the combinations to try, all or some that are drawn."""
    lists = {
        ALIASES.get(key, key): values_of(key, v) if isinstance(v, str) else list(v)
        for key, v in parameters.items()
    }
    grid = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    if trials is not None and trials < len(grid):
        return random.Random(seed).sample(grid, trials)
    return grid


def _best_of(at_end: Sequence[Trained], seeds: int) -> list[int]:
    """Return the number of the best seed of the combination with the best mean."""
    by_point: dict[int, list[Trained]] = {}
    for one in at_end:
        by_point.setdefault(one.number // seeds, []).append(one)
    if not by_point:
        return []

    def mean(group: Sequence[Trained]) -> float:
        return fmean(one.score if one.score is not None else -math.inf for one in group)

    best = max(by_point.values(), key=lambda group: (len(group), mean(group)))
    return [max(best, key=lambda one: one.rank).number]


def with_values(settings: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Put values into settings; those that are the method's go into its brackets.

    Raises:
        ConfigError: If a name is neither a setting of the training nor of its method.
    """
    found = dict(settings)
    own = {key: value for key, value in point.items() if key in TrainConfig.model_fields}
    for key in own:
        if key in _NOT_SEARCHED:
            raise ConfigError(f"sweep: {key} cannot be searched; give it as a setting.")
    found |= own
    inside = {key: value for key, value in point.items() if key not in own}
    if not inside:
        return found
    text = str(found.get("method", TrainConfig.model_fields["method"].default))
    method = parse_method(text).method
    fields = [field.name for field in dataclasses.fields(method)]  # type: ignore[arg-type]
    for key in inside:
        if key not in fields:
            known = [*fields, *TrainConfig.model_fields]
            raise ConfigError(
                f"sweep: {key!r} is no setting of a training or of method {method.name!r}, which "
                f"has {', '.join(fields) or 'none'}.{did_you_mean(key, known)}"
            )
    parts = [f"{key}={json.dumps(v) if not isinstance(v, str) else v}" for key, v in inside.items()]
    head, bracket, rest = text.partition("[")
    before = [rest.rstrip().removesuffix("]")] if bracket else []
    found["method"] = f"{head}[{','.join([*before, *parts])}]"
    return found


def record(found: Sweep) -> dict[str, Any]:
    """Return a sweep as plain data, best first."""
    return {"metric": found.metric, "points": [point.record() for point in found.points]}
