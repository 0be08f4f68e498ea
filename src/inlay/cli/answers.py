"""The file that `inlay predict --output` writes: the rows as they were, and the answers beside."""

import csv
import io
import json
from collections.abc import Sequence
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


def answered(inputs: Inputs, best: Sequence[dict[str, float]], *, layout: str, top: int) -> str:
    """Return the content of the file.

    Args:
        inputs: The rows that were read, with all their columns.
        best: For each row the most probable labels, the best first.
        layout: `csv`, `tsv` or `jsonl`.
        top: Labels for each row.

    Raises:
        ConfigError: If the input has a column of ours already.
    """
    numbers = ["", *(f"_{number}" for number in range(2, top + 1))]
    own = [f"{name}{number}" for number in numbers for name in ("predicted_label", "probability")]
    for name in own:
        if name in inputs.columns:
            raise ConfigError(f"{inputs.path} has a column {name!r} already; rename it.")
    rows = [
        row.record | dict(zip(own, _flat(labels), strict=False))
        for row, labels in zip(inputs.rows, best, strict=True)
    ]
    if layout == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if layout == "tsv" else ",", lineterminator="\n")
    columns = [*inputs.columns, *own]
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _flat(labels: dict[str, float]) -> list[Any]:
    return [value for pair in labels.items() for value in pair]


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value
