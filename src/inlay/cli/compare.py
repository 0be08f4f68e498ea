"""`inlay compare`: runs on the same test rows, and what is noise."""

import dataclasses
import json
from typing import Annotated

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json
from inlay.cli.table import table

_HEADER = ("95 %", "difference", "fixed", "broken")


def compare(
    *,
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="The first is the reference.")
    ],
    as_json: Json = False,
) -> int:
    """Compare runs, and say which differences are noise."""
    from inlay.cli.results import number, points, title, verdict
    from inlay.evaluation.compare import compare as compare_runs

    compared = compare_runs(*runs)
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
                f"({_span(entry.metric, found.low, found.high)}), "
                f"{verdict(found.is_beyond_noise, found.p_value)}, "
                f"on {wording.plural(entry.rows, 'row')}"
            )
    return 0


def _span(metric: str, low: float, high: float) -> str:
    """Return an interval of differences, without its unit."""
    from inlay.cli.results import points

    ends = (points(metric, end).removesuffix(" points") for end in (low, high))
    return " to ".join(ends)
