"""Train what is stale, compare it with what is promoted, and promote it."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, final

from inlay.errors import InlayError, RunError
from inlay.evaluation.compare import Compared, compare
from inlay.project.config import Project
from inlay.project.state import RunState, TaskState, task_state
from inlay.store.atomic import write_atomically
from inlay.training.interrupt import Interrupted, StopRequest, stop_on_signals
from inlay.training.reporter import Reporter, SilentReporter
from inlay.training.shelf import Shelf
from inlay.training.train import Run, train

REGISTRY_FILE = "promoted.json"
_REST = "; all that is left: inlay run"


@final
class GateError(RunError):
    """A task does not reach what its project asks for."""

    exit_code = 4


def run_project(
    project: Project,
    names: Sequence[str] = (),
    *,
    reporter: Reporter | None = None,
    on_task: Callable[[TaskState, RunState], None] | None = None,
) -> list[Run]:
    """Train every run that is not fresh; those that are fresh are not touched.

    Tasks on one base load it once, and what frozen blocks make of rows that several read is
    computed once. What a task is stacked on is trained before it. A run that fails does not keep
    others from being trained.

    Args:
        project: The project.
        names: Tasks; all if none.
        reporter: Is told how each training goes.
        on_task: Is told of each run before it starts.

    Raises:
        ConfigError: If a task is not known.
        InlayError: What went wrong first, after all others were trained.
        Interrupted: If a signal asked to stop; the same call goes on.
    """
    done: list[Run] = []
    failed: list[InlayError] = []
    reporter, shelf = reporter or SilentReporter(), Shelf()

    def fail(what: str, error: InlayError) -> None:
        failed.append(error)
        reporter.on_note(f"{what} failed: {error}")

    with stop_on_signals() as stop:
        for name in project.with_below(names):
            try:
                state = task_state(project, project.task(name))
                below = _below(project, state)
            except InlayError as error:
                fail(f"task {name!r}", error)
                continue
            for run in state.runs:
                if run.state == "fresh":
                    continue
                if stop.is_asked():
                    raise stop.interrupted(f"stopped before task {name!r}, seed {run.seed}{_REST}")
                if on_task is not None:
                    on_task(state, run)
                settings = state.task.settings | below.get(run.seed, {})
                try:
                    done.append(_train(project, settings, run, reporter, shelf, stop))
                except Interrupted as error:
                    raise stop.interrupted(f"{error}{_REST}") from error
                except InlayError as error:
                    fail(f"task {name!r}, seed {run.seed}", error)
    if failed:
        raise failed[0]
    return done


def _below(project: Project, state: TaskState) -> dict[int, dict[str, str]]:
    """Return for each seed the setting that says which run of another task is below."""
    if state.task.stack_on is None:
        return {}
    below = task_state(project, project.task(state.task.stack_on))
    return {run.seed: {"stack_on": str(run.folder)} for run in below.runs}


def _train(
    project: Project,
    settings: dict[str, Any],
    run: RunState,
    reporter: Reporter,
    shelf: Shelf,
    stop: StopRequest,
) -> Run:
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    settings = {**settings, "seed": run.seed, "out": str(run.folder)}
    return train(reporter=reporter, given_as=str(project.path), shelf=shelf, stop=stop, **settings)


def read_promoted(project: Project) -> dict[str, dict[str, Any]]:
    """Return what is promoted, by task.

    Raises:
        RunError: If the file is damaged.
    """
    path = project.runs / REGISTRY_FILE
    if not path.is_file():
        return {}
    try:
        content: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    entries = content.values() if isinstance(content, dict) else [content]
    if not all(isinstance(entry, dict) and {"run", "version"} <= set(entry) for entry in entries):
        raise RunError(f"{path} is damaged: each task needs a run and a version.")
    return content


def compare_with_promoted(project: Project, name: str) -> list[Compared]:
    """Compare a task's best fresh run with the promoted one, on the same test rows.

    Raises:
        ConfigError: If the task is not known.
        RunError: If nothing is promoted, or nothing is fresh.
    """
    project.task(name)
    promoted = read_promoted(project).get(name)
    if promoted is None:
        raise RunError(f"task {name!r} has no promoted run yet: inlay promote {name}.")
    best = _best(project, name)
    return compare(project.runs / promoted["run"], best.folder)


def promote(project: Project, name: str, *, force: bool = False) -> dict[str, Any]:
    """Make a task's best fresh run, by validation, the one to be used.

    Args:
        project: The project.
        name: Of the task.
        force: Promote although the gate is not reached.

    Returns:
        What was written: version, run, scores and time.

    Raises:
        RunError: If no run is fresh.
        GateError: If the score on test does not reach the gate.
    """
    task = project.task(name)
    best = _best(project, name)
    report = (best.metrics or {})["test"]
    value = report[report["metric"]]
    lower = (best.metrics or {})["headline"]["form"] == "perplexity"
    missed = task.gate is not None and (value > task.gate if lower else value < task.gate)
    if missed and not force:
        raise GateError(
            f"task {name!r}: {report['metric']} is {value:.4g}, and its gate is {task.gate}. "
            "Improve it, change the gate, or use --force."
        )
    promoted = read_promoted(project)
    before = promoted.get(name, {})
    run = str(best.folder.relative_to(project.runs))
    if before.get("run") == run:
        return before
    promoted[name] = {
        "version": before.get("version", 0) + 1, "run": run, "metric": report["metric"],
        "score": value, "seed": best.seed, "gate": task.gate, "forced": missed,
        "promoted": datetime.now().astimezone().isoformat(timespec="seconds"),
    }  # fmt: skip
    text = json.dumps(promoted, indent=2, ensure_ascii=False)
    write_atomically(project.runs / REGISTRY_FILE, text + "\n")
    return promoted[name]


def promoted_folders(project: Project) -> dict[str, Path]:
    """Return the folder of each promoted run, by task."""
    return {name: project.runs / entry["run"] for name, entry in read_promoted(project).items()}


def _best(project: Project, name: str) -> RunState:
    best = task_state(project, project.task(name)).best
    if best is None:
        raise RunError(f"task {name!r} has no fresh run: inlay run {name}.")
    return best
