"""`inlay evaluate`: measure a saved adapter on labelled data."""

import json
from typing import Annotated, Any

import typer

from inlay.cli import console
from inlay.cli.options import (
    Columns,
    Json,
    LabelColumn,
    LabelMap,
    MaxRejected,
    Member,
    OptionsOfEvaluating,
    PairColumn,
    Run,
    TextColumn,
    parse_columns,
    parse_label_map,
    parse_share,
    parse_task_options,
)


def evaluate(
    *,
    run: Run,
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="Labelled data; the run's own if not given."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which split, where the data have several.")] = "test",
    member: Member = None,
    task_options: OptionsOfEvaluating = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    columns: Columns = None,
    label_map: LabelMap = None,
    max_rejected: MaxRejected = None,
    as_json: Json = False,
) -> int:
    """Measure a saved adapter on rows whose answers are known."""
    given: dict[str, Any] = {
        "member": member,
        "task_options": parse_task_options(task_options) or None,
        "text_column": text_column,
        "pair_column": pair_column,
        "label_column": label_column,
        "columns": parse_columns(columns) or None,
        "label_map": parse_label_map(label_map) or None,
        "max_rejected": parse_share(max_rejected),
    }
    console.be_calm()
    from inlay.cli.results import report_lines
    from inlay.evaluation.report import evaluate as run_evaluation

    report = run_evaluation(
        run, data, split=split, **{key: value for key, value in given.items() if value is not None}
    )
    for note in report["notes"]:
        console.tell(f"note: {note}")
    if as_json:
        console.put(json.dumps(report, indent=2, ensure_ascii=False))
        return 0
    console.put(f"run    {report['run']}")
    own = f" ({split} rows of the run's own data)" if data is None else ""
    console.put(f"data   {report['data']}{own}")
    for line in report_lines(report, ""):
        console.put(line)
    return 0
