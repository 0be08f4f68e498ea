"""Predictions as they lie in a run's folder: written once, read by `compare` and `errors`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from inlay.data.rows import Example
from inlay.errors import RunError
from inlay.metrics.headline import Headline
from inlay.tasks.base import AbstractPrediction, AbstractTask

PREDICTIONS_FILE = "predictions.jsonl"
METRICS_FILE = "metrics.json"
_ALTERNATIVES = 3


@final
@dataclass(frozen=True, slots=True)
class Record:
    """One test row and what was predicted for it.

    Attributes:
        row: File and line.
        text: The main text.
        pair: The second one, such as the context of a question.
        label: What is right, in words.
        predicted: What was answered, in words.
        confidence: How sure the answer is, in [0, 1].
        counts: The numbers whose sums over rows make the headline metric.
        value: How good this row is; 1 is right where the metric is a fraction.
        details: The answer as plain data.
    """

    row: str
    text: str
    pair: str | None
    label: str
    predicted: str
    confidence: float
    counts: list[float]
    value: float
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_correct(self) -> bool:
        """Whether nothing is wrong with the answer."""
        return self.value >= 1


def to_jsonl(
    task: AbstractTask, rows: Sequence[Example], predictions: Sequence[AbstractPrediction]
) -> str:
    """Return one JSON object a line for each row."""
    lines = []
    for row, prediction in zip(rows, predictions, strict=True):
        counts = task.counts(row, prediction)
        record = {
            "row": f"{row.file}:{row.line}",
            "text": row.text,
            "pair": row.pair,
            "label": row.label,
            "predicted": prediction.answer,
            "confidence": round(prediction.confidence, 6),
            "counts": [round(number, 6) for number in counts],
            "value": round(task.headline.row_value(counts), 6),
            "details": prediction.record(_ALTERNATIVES),
        }
        lines.append(json.dumps(record, ensure_ascii=False))
    return "".join(line + "\n" for line in lines)


def read_records(run: str | Path) -> list[Record]:
    """Read the predictions of a finished run.

    Raises:
        RunError: If there are none, or the file is damaged.
    """
    path = Path(run) / PREDICTIONS_FILE
    if not path.is_file():
        raise RunError(
            f"{run} has no {PREDICTIONS_FILE}: it is no run's folder, or the run has not finished."
        )
    records = []
    # Not `splitlines`, which would also split inside texts, at U+2028 and the like.
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            values: dict[str, Any] = json.loads(line)
            records.append(Record(**values))
        except (json.JSONDecodeError, TypeError) as error:
            raise RunError(f"{path} line {number} is damaged ({error}).") from error
    return records


def read_headline(run: str | Path) -> Headline:
    """Return the headline metric of a finished run's task.

    Raises:
        RunError: If the run has not finished, or its file is damaged.
    """
    path = Path(run) / METRICS_FILE
    try:
        return Headline(**json.loads(path.read_text(encoding="utf-8"))["headline"])
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read, or names no metric ({error}).") from error


def mistakes(run: str | Path, number: int = 20) -> list[Record]:
    """Return the wrong rows of a run, the surest first: often errors in the labels.

    Where rows are wrong by degrees, as numbers and texts are, the worst come first.

    Args:
        run: A finished run's folder.
        number: How many at most.

    Raises:
        RunError: If the run's predictions cannot be read.
    """
    wrong = [record for record in read_records(run) if not record.is_correct]
    return sorted(wrong, key=lambda record: (record.value, -record.confidence))[:number]
