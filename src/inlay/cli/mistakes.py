"""`inlay errors`: the test rows a run is most confidently wrong about."""

import dataclasses
import json
from typing import Annotated

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json
from inlay.cli.table import shorten


def errors(
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Rows, at most.")] = 20,
    as_json: Json = False,
) -> int:
    """Show the test rows a run is most surely wrong about.

    Many of them are errors in the labels.
    """
    from inlay.evaluation.records import mistakes, read_records

    wrong = mistakes(run, number)
    if as_json:
        rows = [dataclasses.asdict(record) for record in wrong]
        console.put(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    records = read_records(run)
    total = sum(not record.is_correct for record in records)
    if not wrong:
        console.put(f"none of {wording.plural(len(records), 'test row')} is wrong")
        return 0
    wide = console.stdout_width()
    for record in wrong:
        text = record.text if record.pair is None else f"{record.text} | {record.pair}"
        text = " ".join(text.split())
        console.put(
            f"{record.confidence:.2f}  predicted {_short(record.predicted)}, labelled "
            f"{_short(record.label)}   {record.row}"
        )
        console.put(f"      {text if wide is None else shorten(text, wide - 6)}")
    console.tell(
        f"{len(wrong)} of {wording.plural(total, 'wrong row')}, of "
        f"{wording.count(len(records))} in test; many such rows are errors in the labels"
    )
    return 0


def _short(answer: str) -> str:
    """Return an answer on one line, cut where it is long; nothing is said as such."""
    return shorten(" ".join(answer.split()), 60) or "(nothing)"
