"""The file that `inlay predict --output` writes: the rows as they were, and the answers beside."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inlay.data.inputs import Inputs
from inlay.errors import ConfigError

_LAYOUTS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl"}


def layout_of(target: Path) -> str:
    """Tell from its name how a file is written.

    Raises:
        ConfigError: If the name says nothing.
    """
    layout = _LAYOUTS.get(target.suffix.lower())
    if layout is None:
        raise ConfigError(f"--output {target}: the name must end in {', '.join(_LAYOUTS)}.")
    return layout


def answered(inputs: Inputs, answers: Sequence[Mapping[str, Any]], *, layout: str) -> str:
    """Return the content of the file.

    Args:
        inputs: The rows that were read, with all their columns.
        answers: For each row the columns that are added, with their values.
        layout: `csv`, `tsv` or `jsonl`.

    Raises:
        ConfigError: If the input has a column of ours already.
    """
    own = list(dict.fromkeys(name for answer in answers for name in answer))
    for name in own:
        if name in inputs.columns:
            raise ConfigError(f"{inputs.path} has a column {name!r} already; rename it.")
    rows = [row.record | dict(answer) for row, answer in zip(inputs.rows, answers, strict=True)]
    if layout == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if layout == "tsv" else ",", lineterminator="\n")
    columns = [*inputs.columns, *own]
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value
