"""What of a project is fresh, stale, new or unfinished, by the hashes of data and settings."""

import hashlib
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from inlay import __version__
from inlay.project.config import Project, TaskConfig
from inlay.training.reading import prepared_config, read_data
from inlay.training.run_folder import METRICS_FILE, RunFolder, run_digest

State = Literal["fresh", "stale", "new", "unfinished"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """One run that a project asks for: a task with a seed.

    Args:
        seed: Its seed.
        folder: Where it is, or will be; named by the hash of data, settings and version.
        state: Whether it is there.
        metrics: What it came to, if it has finished.
    """

    seed: int
    folder: Path
    state: State
    metrics: dict[str, Any] | None


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TaskState:
    """All runs of one task.

    Args:
        task: The task.
        runs: One for each seed.
        rows: Training rows.
        why: Why it is stale; empty if it is not.
    """

    task: TaskConfig
    runs: tuple[RunState, ...]
    rows: int
    why: str = ""

    @property
    def state(self) -> State:
        """The state of the run that most is to be done for."""
        found = {run.state for run in self.runs}
        order: tuple[State, ...] = ("unfinished", "stale", "new", "fresh")
        return next(state for state in order if state in found)

    @property
    def metric(self) -> str | None:
        """The headline metric's name, if a run has finished."""
        done = [run.metrics for run in self.runs if run.metrics]
        return str(done[0]["test"]["metric"]) if done else None

    @property
    def score(self) -> float | None:
        """The mean of the headline metric over the finished runs."""
        values = [run.metrics["test"][self.metric] for run in self.runs if run.metrics]
        return statistics.mean(values) if values else None

    @property
    def best(self) -> RunState | None:
        """The finished run that was best on validation, the one to be promoted."""
        done = [run for run in self.runs if run.metrics]
        return max(done, key=lambda run: _validation(run.metrics or {}), default=None)


def project_state(project: Project) -> list[TaskState]:
    """Return the state of every task.

    Raises:
        ConfigError: If a setting is not allowed.
        DataError: If data cannot be read.
    """
    known: dict[str, TaskState] = {}
    return [task_state(project, task, known) for task in project.tasks.values()]


def task_state(
    project: Project, task: TaskConfig, known: dict[str, TaskState] | None = None
) -> TaskState:
    """Return the state of one task; its data are read for it, and those of what is below it.

    Args:
        project: The project.
        task: The task.
        known: What was found out before, by task; is added to.

    Raises:
        ConfigError: If a setting is not allowed.
        DataError: If the data cannot be read.
    """
    known = {} if known is None else known
    if task.name in known:
        return known[task.name]
    below: dict[int, str] = {}
    if task.stack_on is not None:
        state = task_state(project, project.task(task.stack_on), known)
        below = {run.seed: run.folder.name for run in state.runs}
    runs = []
    dataset = None
    for seed in project.seeds:
        resolved = project.resolved(task, seed)
        if dataset is None:
            dataset = read_data(resolved.config)
        config = prepared_config(resolved, dataset).config
        config = config.model_copy(update={"base": _as_seen_from(project.path.parent, config.base)})
        content = f"{run_digest(config, dataset)} {__version__} {below.get(seed, '')}"
        key = hashlib.sha256(content.encode()).hexdigest()[:12]
        runs.append(_run_state(project.runs / task.name, key, seed))
    rows = 0 if dataset is None else len(dataset.splits["train"])
    why = _why(runs, project.runs / task.name)
    known[task.name] = TaskState(task=task, runs=tuple(runs), rows=rows, why=why)
    return known[task.name]


def _as_seen_from(folder: Path, name: str) -> str:
    """Return a path below the project's folder relative to it, so that the project can move."""
    folder, place = folder.resolve(), Path(name)
    return str(place.relative_to(folder)) if place.is_relative_to(folder) else name


def _run_state(folder: Path, key: str, seed: int) -> RunState:
    """Look for the run of this content; an older one with the same seed makes it stale."""
    path = folder / f"{key}-seed{seed}"
    run = RunFolder(path)
    if run.is_finished:
        return RunState(seed=seed, folder=path, state="fresh", metrics=run.read_json(METRICS_FILE))
    if not run.is_empty:
        return RunState(seed=seed, folder=path, state="unfinished", metrics=None)
    older = [p for p in _finished(folder) if p.name.endswith(f"-seed{seed}")]
    return RunState(seed=seed, folder=path, state="stale" if older else "new", metrics=None)


def _finished(folder: Path) -> list[Path]:
    """Return the finished runs of a task, the newest first."""
    if not folder.is_dir():
        return []
    done = [path for path in folder.iterdir() if (path / METRICS_FILE).is_file()]
    return sorted(done, key=lambda path: -(path / METRICS_FILE).stat().st_mtime)


def _why(runs: list[RunState], folder: Path) -> str:
    """Name the newest finished run that is asked for no more."""
    if all(run.state != "stale" for run in runs):
        return ""
    fresh = [run.folder for run in runs if run.state == "fresh"]
    older = next(path for path in _finished(folder) if path not in fresh)
    return f"data, settings or version changed since {older.name}"


def _validation(metrics: dict[str, Any]) -> float:
    report = metrics["validation"]
    value = float(report[report["metric"]])
    return -value if metrics["headline"]["form"] == "perplexity" else value
