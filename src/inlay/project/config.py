"""`inlay.yaml`: the tasks of a project, and the settings that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

from inlay.errors import ConfigError, did_you_mean
from inlay.training.config import ResolvedConfig, resolve_config

PROJECT_FILE = "inlay.yaml"

_KEYS = ("base", "train", "seeds", "runs", "tasks")
_OF_PROJECT = {"base": "base", "seed": "seeds", "out": "runs"}
"""Settings that the project decides for all tasks -> the key that decides them."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TaskConfig:
    """One task of a project.

    Args:
        name: As in the file.
        settings: Of `TrainConfig`, shared and own ones, without seed and folder.
        gate: What the headline metric must reach to be promoted, if anything; a fraction where
            the metric is one.
        stack_on: The task whose run of the same seed stays frozen below, if one does.
    """

    name: str
    settings: dict[str, Any]
    gate: float | None
    stack_on: str | None = None


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """A project's file.

    Args:
        path: The file; data and runs are beside it.
        seeds: One adapter of each task is trained for each.
        runs: Folder of the runs.
        tasks: By name, in the order of the file.
    """

    path: Path
    seeds: tuple[int, ...]
    runs: Path
    tasks: dict[str, TaskConfig]

    def task(self, name: str) -> TaskConfig:
        """Return a task by name.

        Raises:
            ConfigError: If there is none of this name.
        """
        if name not in self.tasks:
            raise ConfigError(
                f"{self.path} has no task {name!r}; it has {', '.join(self.tasks)}."
                f"{did_you_mean(name, self.tasks)}"
            )
        return self.tasks[name]

    def with_below(self, names: Sequence[str] = ()) -> list[str]:
        """List tasks, all if none are named, each behind what it is stacked on.

        Raises:
            ConfigError: If there is none of a name.
        """
        ordered: dict[str, None] = {}
        for name in names or self.tasks:
            ordered |= dict.fromkeys(reversed(_chain(self.task(name), self.tasks)))
        return list(ordered)

    def resolved(self, task: TaskConfig, seed: int) -> ResolvedConfig:
        """Return all settings of one run.

        Raises:
            ConfigError: If a setting is not known or not allowed.
        """
        try:
            return resolve_config({**task.settings, "seed": seed}, given_as=str(self.path))
        except ConfigError as error:
            raise ConfigError(f"{self.path}, task {task.name!r}: {error}") from error


def read_project(path: str | Path = PROJECT_FILE) -> Project:
    """Read a project's file.

        base: minilm
        train: {epochs: 6}
        seeds: [1, 2]
        tasks:
          intent: {data: data/intent.csv}
          slots:  {data: data/slots.conll, task: tagging, gate: 0.9}
          rare:   {data: data/rare.csv, stack_on: intent}

    Args:
        path: The file.

    Raises:
        ConfigError: If it is not there or not of this form; every setting of every task is
            checked.
    """
    path = Path(path)
    content = _load(path)
    shared = content.get("train", {})
    if not isinstance(shared, dict):
        raise ConfigError(f"{path}: train: expected settings, such as `train: {{epochs: 6}}`.")
    for key, decided_by in _OF_PROJECT.items():
        if key in shared:
            raise ConfigError(f"{path}: train: {key} is set by `{decided_by}:` beside `train:`.")
    if "stack_on" in shared:
        raise ConfigError(f"{path}: train: stack_on is said by each task that is stacked.")
    shared = {**shared, **({"base": content["base"]} if "base" in content else {})}
    names = tuple(map(str, content["tasks"]))
    tasks = {
        str(name): _task(path, str(name), own, shared, names)
        for name, own in content["tasks"].items()
    }
    for task in tasks.values():
        chain = _chain(task, tasks)
        if chain[-1] in chain[:-1]:
            circle = " on ".join(map(repr, chain))
            raise ConfigError(f"{path}: {circle}: tasks cannot be stacked in a circle.")
    project = Project(
        path=path, seeds=_seeds(path, content.get("seeds", [1])),
        runs=path.parent / str(content.get("runs", "runs")), tasks=tasks,
    )  # fmt: skip
    for task in tasks.values():
        project.resolved(task, project.seeds[0])
    return project


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; a project is a file such as inlay.yaml.") from (
            error
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(content, dict):
        content = {}
    if not isinstance(content.get("tasks"), dict) or not content["tasks"]:
        raise ConfigError(f"{path}: expected `tasks:` with a name and settings for each task.")
    for key in content:
        if key not in _KEYS:
            raise ConfigError(f'{path}: unknown key "{key}".{did_you_mean(str(key), _KEYS)}')
    return content


def _chain(task: TaskConfig, tasks: Mapping[str, TaskConfig]) -> list[str]:
    """Return a task and what is below it, the highest first; a circle ends with its first again."""
    chain = [task.name]
    while (below := tasks[chain[-1]].stack_on) is not None:
        chain.append(below)
        if below in chain[:-1]:
            break
    return chain


def _below(path: Path, name: str, given: Any, names: Sequence[str]) -> tuple[str | None, str]:
    """Return the task, or the place of the run, that a task is stacked on."""
    if str(given) in names:
        return str(given), ""
    place = path.parent / str(given)
    if not place.is_dir():
        raise ConfigError(
            f"{path}: task {name!r}: stack_on: {given!r} is neither another task of this project "
            f"nor the folder of a run.{did_you_mean(str(given), names)}"
        )
    return None, str(place.resolve())


def _task(
    path: Path, name: str, own: Any, shared: dict[str, Any], names: Sequence[str]
) -> TaskConfig:
    if not isinstance(own, dict) or "data" not in own:
        raise ConfigError(f"{path}: task {name!r} names no `data:`.")
    settings = {**shared, **own}
    gate = settings.pop("gate", None)
    if gate is not None and (isinstance(gate, bool) or not isinstance(gate, int | float)):
        raise ConfigError(f"{path}: task {name!r}: gate is {gate!r}, not a number.")
    for key in _OF_PROJECT:
        if key in own:
            raise ConfigError(
                f"{path}: task {name!r}: {key} is set for the whole project, not for a task."
            )
    if any(sign in name for sign in "/\\") or name.startswith("."):
        raise ConfigError(f"{path}: {name!r} cannot be the name of a folder.")
    beside = path.parent / str(own["data"])
    settings["data"] = str(beside.resolve()) if beside.exists() else str(own["data"])
    if "base" in settings and (path.parent / str(settings["base"])).is_dir():
        settings["base"] = str((path.parent / str(settings["base"])).resolve())
    below = None
    if settings.get("stack_on") is not None:
        below, place = _below(path, name, settings.pop("stack_on"), names)
        settings |= {"stack_on": place} if place else {}
    return TaskConfig(
        name=name, settings=settings, gate=None if gate is None else float(gate), stack_on=below
    )


def _seeds(path: Path, given: Any) -> tuple[int, ...]:
    seeds = given if isinstance(given, list) else [given]
    if not seeds or any(isinstance(s, bool) or not isinstance(s, int) for s in seeds):
        raise ConfigError(f"{path}: seeds={given!r}; give whole numbers, such as [1, 2, 3].")
    return tuple(dict.fromkeys(seeds))
