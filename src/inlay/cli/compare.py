"""`inlay compare`: runs on the same test rows, and what is noise."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json
from inlay.cli.table import table

if TYPE_CHECKING:
    from inlay.evaluation.compare import Compared

_HEADER = ("95 %", "difference", "fixed", "broken")


def compare(
    *,
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="The first is the reference.")
    ],
    project: Annotated[
        Path, typer.Option("--project", "-p", help="Where a single TASK is looked for.")
    ] = Path("inlay.yaml"),
    as_json: Json = False,
) -> int:
    """Compare runs, and say which differences are noise.

    With the name of a project's task: its best fresh run with the promoted one.
    """
    from inlay.cli.results import gains, number, points, title, verdict
    from inlay.evaluation.compare import compare as compare_runs

    compared = _task(project, runs[0]) if _is_task(project, runs) else compare_runs(*runs)
    if as_json:
        console.put(json.dumps([dataclasses.asdict(entry) for entry in compared], indent=2))
        return 0
    rows = []
    for entry in compared:
        low, high = (number(entry.metric, end).removesuffix(" %") for end in entry.interval)
        difference = entry.difference
        rows.append(
            [
                entry.run, number(entry.metric, entry.value), f"{low} to {high}",
                "reference" if difference is None else points(entry.metric, difference.mean),
                "" if difference is None else str(difference.fixed),
                "" if difference is None else str(difference.broken),
            ]
        )  # fmt: skip
    right = [title(compared[0].metric), *_HEADER]
    console.put(table(["run", *right], rows, right=right, limit=console.stdout_width()))
    console.put()
    for entry in compared:
        if (found := entry.difference) is not None:
            console.put(
                f"{entry.run} against {compared[0].run}: {points(entry.metric, found.mean)} "
                f"({gains(entry.metric, found.low, found.high)}), "
                f"{verdict(found.is_beyond_noise, found.p_value)}, "
                f"on {wording.plural(entry.rows, 'row')}"
            )
    return 0


def _is_task(project: Path, runs: Sequence[str]) -> bool:
    return len(runs) == 1 and project.is_file() and not Path(runs[0]).exists()


def _task(project: Path, name: str) -> "list[Compared]":
    from inlay.project.config import read_project
    from inlay.project.work import compare_with_promoted

    return compare_with_promoted(read_project(project), name)
