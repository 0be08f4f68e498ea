"""`inlay compare`: runs on the same test rows, and what is noise."""

import dataclasses
import json
from typing import Annotated

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json
from inlay.cli.table import table

_HEADER = ("run", "accuracy", "95 %", "macro-F1", "difference", "fixed", "broken")


def compare(
    *,
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="The first is the reference.")
    ],
    as_json: Json = False,
) -> int:
    """Compare runs, and say which differences are noise."""
    from inlay.cli.results import points, verdict
    from inlay.evaluation.compare import compare as compare_runs

    compared = compare_runs(*runs)
    if as_json:
        console.put(json.dumps([dataclasses.asdict(entry) for entry in compared], indent=2))
        return 0
    rows = []
    for entry in compared:
        low, high = entry.accuracy_ci
        difference = entry.difference
        rows.append(
            [
                entry.run, wording.percent(entry.accuracy), f"{100 * low:.1f} to {100 * high:.1f}",
                f"{100 * entry.macro_f1:.1f}",
                "reference" if difference is None else points(difference.mean),
                "" if difference is None else str(difference.fixed),
                "" if difference is None else str(difference.broken),
            ]
        )  # fmt: skip
    right = [name for name in _HEADER if name != "run"]
    console.put(table(_HEADER, rows, right=right, limit=console.stdout_width()))
    console.put()
    for entry in compared:
        if (found := entry.difference) is not None:
            console.put(
                f"{entry.run} against {compared[0].run}: {points(found.mean)} "
                f"({100 * found.low:+.1f} to {100 * found.high:+.1f}), "
                f"{verdict(found.is_beyond_noise, found.p_value)}, "
                f"on {wording.plural(entry.rows, 'row')}"
            )
    return 0
