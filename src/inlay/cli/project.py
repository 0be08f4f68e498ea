"""`inlay status`, `plan`, `run` and `promote`: the tasks of a project file."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json
from inlay.cli.results import number, title
from inlay.cli.table import table

if TYPE_CHECKING:
    from inlay.project.config import Project
    from inlay.project.state import RunState, TaskState

_HEADER = ("task", "rows", "score", "gate", "promoted", "state")

File = Annotated[Path, typer.Option("--project", "-p", metavar="FILE", help="The project's file.")]
Tasks = Annotated[list[str] | None, typer.Argument(metavar="[TASK]...", help="All if none.")]
_DEFAULT = Path("inlay.yaml")


def status(*, project: File = _DEFAULT, as_json: Json = False) -> int:
    """Show the tasks of a project: what is fresh, stale, new, promoted."""
    from inlay.project.state import project_state
    from inlay.project.work import read_promoted

    console.be_calm()
    found = _read(project)
    states = project_state(found)
    promoted = read_promoted(found)
    if as_json:
        content = [_record(state, promoted.get(state.task.name)) for state in states]
        console.put(json.dumps(content, indent=2, ensure_ascii=False))
        return 0
    rows = [_row(state, promoted.get(state.task.name)) for state in states]
    console.put(table(_HEADER, rows, right=("rows", "score"), limit=console.stdout_width()))
    return 0


def plan(*, tasks: Tasks = None, project: File = _DEFAULT) -> int:
    """Say what `inlay run` would train, and why."""
    from inlay.project.state import task_state

    console.be_calm()
    found = _read(project)
    total = 0
    known: dict[str, TaskState] = {}
    for name in found.with_below(tasks or ()):
        state = task_state(found, found.task(name), known)
        todo = [run for run in state.runs if run.state != "fresh"]
        total += len(todo)
        for run in todo:
            why = f"   {state.why}" if run.state == "stale" else ""
            console.put(f"{name}   seed {run.seed}   {run.state}{why}")
    console.put(f"{wording.plural(total, 'training')} to run; nothing else will be touched")
    return 0


def run(*, tasks: Tasks = None, project: File = _DEFAULT) -> int:
    """Train what is not fresh. The same command goes on after an interruption."""
    from inlay.cli.progress import reporting
    from inlay.project.work import run_project

    console.be_calm()
    found = _read(project)

    def tell(state: "TaskState", one: "RunState") -> None:
        console.tell(f"\n== {state.task.name}, seed {one.seed}: {one.state}")

    with reporting() as reporter:
        done = run_project(found, tasks or (), reporter=reporter, on_task=tell)
    for one in done:
        report = one.metrics["test"]
        name = report["metric"]
        console.put(f"{one.folder}   {title(name)} {number(name, report[name])}")
    if not done:
        console.put("everything is fresh")
    return 0


def promote(
    *,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Its best run on validation.")],
    project: File = _DEFAULT,
    force: Annotated[bool, typer.Option("--force", help="Although the gate is missed.")] = False,
) -> int:
    """Make a task's best run the one to be used, if it reaches the gate."""
    from inlay.project.work import promote as promote_task

    console.be_calm()
    entry = promote_task(_read(project), task, force=force)
    score = number(entry["metric"], entry["score"])
    console.put(f"{task} v{entry['version']}   {title(entry['metric'])} {score}   {entry['run']}")
    return 0


def _read(path: Path) -> "Project":
    from inlay.project.config import read_project

    return read_project(path)


def _row(state: "TaskState", promoted: dict[str, Any] | None) -> list[str]:
    score = ""
    if state.metric is not None and state.score is not None:
        score = f"{title(state.metric)} {number(state.metric, state.score)}"
    gate = "" if state.task.gate is None else f"{state.task.gate:g}"
    word = state.state if state.state != "stale" else f"STALE: {state.why}"
    version = "" if promoted is None else f"v{promoted['version']}"
    return [state.task.name, wording.count(state.rows), score, gate, version, word]


def _record(state: "TaskState", promoted: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "task": state.task.name, "rows": state.rows, "state": state.state, "why": state.why,
        "metric": state.metric, "score": state.score, "gate": state.task.gate,
        "promoted": promoted,
        "runs": [
            {**dataclasses.asdict(one), "folder": str(one.folder), "metrics": None}
            for one in state.runs
        ],
    }  # fmt: skip
