"""`inlay inspect`: what is in the data, without a model."""

from pathlib import Path
from typing import Annotated

import typer

from inlay.cli.options import (
    Columns,
    LabelColumn,
    LabelMap,
    MaxRejected,
    PairColumn,
    Task,
    TextColumn,
    parse_columns,
    parse_label_map,
    parse_share,
)


def inspect_data(
    *,
    data: Annotated[str, typer.Argument(help="File, folder, built-in or Hub name.")],
    task: Task = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    columns: Columns = None,
    label_map: LabelMap = None,
    max_rejected: MaxRejected = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report and the rejected rows.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Look at data before training: rows, labels, faults."""
    from inlay.cli.inspection import run_inspect

    share = parse_share(max_rejected)
    return run_inspect(
        data,
        task=task,
        text_column=text_column,
        pair_column=pair_column,
        label_column=label_column,
        columns=parse_columns(columns),
        label_map=parse_label_map(label_map),
        max_rejected=0.01 if share is None else share,
        json_output=as_json,
        out=out,
    )
