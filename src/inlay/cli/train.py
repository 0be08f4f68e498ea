"""`inlay train`: from data to a trained, measured, reloadable adapter."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inlay.cli import console
from inlay.cli.options import (
    Columns,
    Json,
    LabelColumn,
    LabelMap,
    MaxRejected,
    PairColumn,
    Task,
    TaskOptions,
    TextColumn,
    parse_columns,
    parse_label_map,
    parse_share,
    parse_task_options,
)
from inlay.cli.project import run as run_project
from inlay.cli.train_options import (
    At,
    Base,
    BatchSize,
    Config,
    Data,
    DropUnseenLabels,
    Epochs,
    ExplainSpeed,
    FewShot,
    Force,
    Layers,
    LearningRate,
    MaxLength,
    Method,
    Out,
    Patience,
    Precision,
    Project,
    Replay,
    Seed,
    Settings,
    StackOn,
    Trunk,
    TrunkDropout,
)
from inlay.errors import ConfigError

if TYPE_CHECKING:
    from inlay.training.train import Run


def train(
    *,
    data: Data = None,
    base: Base = None,
    task: Task = None,
    task_options: TaskOptions = None,
    method: Method = None,
    at: At = None,
    layers: Layers = None,
    stack_on: StackOn = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    few_shot: FewShot = None,
    seed: Seed = None,
    out: Out = None,
    config: Config = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    columns: Columns = None,
    label_map: LabelMap = None,
    max_rejected: MaxRejected = None,
    drop_unseen_labels: DropUnseenLabels = False,
    max_length: MaxLength = None,
    precision: Precision = None,
    patience: Patience = None,
    replay: Replay = None,
    trunk: Trunk = None,
    trunk_dropout: TrunkDropout = False,
    explain_speed: ExplainSpeed = False,
    settings: Settings = None,
    force: Force = False,
    project: Project = None,
    as_json: Json = False,
) -> int:
    """Train an adapter on your data, measure it, save it.

    The same command again goes on with a run that was interrupted.
    """
    if project is not None:
        return _train_project(project, data)
    given: dict[str, Any] = {
        "base": base, "task": task, "task_options": parse_task_options(task_options) or None,
        "method": method, "at": at, "layers": layers, "stack_on": stack_on, "epochs": epochs,
        "batch_size": batch_size, "learning_rate": learning_rate, "few_shot": few_shot,
        "seed": seed, "out": out, "text_column": text_column, "pair_column": pair_column,
        "label_column": label_column, "replay": replay, "patience": patience,
        "columns": parse_columns(columns) or None, "label_map": parse_label_map(label_map) or None,
        "max_rejected": parse_share(max_rejected), "max_length": max_length,
        "drop_unseen_labels": drop_unseen_labels or None, "precision": precision,
        "trunk": trunk, "trunk_dropout": trunk_dropout or None,
    }  # fmt: skip
    given = with_settings(given, settings or ()) | {"config": config, "force": force}
    show_end(_trained(data, given, explains_speed=explain_speed), as_json=as_json)
    return 0


def _trained(data: str | None, given: dict[str, Any], *, explains_speed: bool) -> "Run":
    console.be_calm()
    from inlay.cli.progress import reporting
    from inlay.training.train import train as run_training

    with reporting(explains_speed=explains_speed) as reporter:
        return run_training(data, reporter=reporter, given_as="flag", **given)


def _train_project(project: Path, data: str | None) -> int:
    if data is not None:
        raise ConfigError("--project: the data stand in the project's file; give one of them.")
    return run_project(project=project)


def show_end(run: "Run", *, as_json: bool) -> None:
    """Print what a training came to on stdout."""
    from inlay.cli.results import finished_text

    if as_json:
        console.put(json.dumps(run.metrics, indent=2, ensure_ascii=False))
    else:
        console.tell()
        console.put(finished_text(run.metrics, str(run.folder)))


def with_settings(options: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return what the other options gave, left out where `None`, and what `--set` gave.

    Raises:
        ConfigError: If a part has no `=`, or names what another option gave already.
    """
    given = {key: value for key, value in options.items() if value is not None}
    for part in settings:
        key, has_value, value = part.partition("=")
        key = key.strip().replace("-", "_")
        if not has_value or not key:
            raise ConfigError(f"--set {part!r}: write KEY=VALUE, like --set weight_decay=0.1.")
        if key in given:
            raise ConfigError(f"--set {part!r}: {key} is given twice.")
        given[key] = value.strip()
    return given
