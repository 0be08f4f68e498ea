"""Predictions as they lie in a run's folder: written once, read by `compare` and `errors`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from inlay.data.rows import Example
from inlay.errors import RunError
from inlay.tasks.base import Prediction

PREDICTIONS_FILE = "predictions.jsonl"


@final
@dataclass(frozen=True, slots=True)
class Record:
    """One test row and what was predicted for it."""

    row: str
    text: str
    pair: str | None
    label: str
    predicted: str
    confidence: float
    label_probability: float

    @property
    def is_correct(self) -> bool:
        """Whether the prediction is right."""
        return self.label == self.predicted


def to_jsonl(rows: Sequence[Example], predictions: Sequence[Prediction]) -> str:
    """Return one JSON object a line for each row."""
    lines = []
    for row, prediction in zip(rows, predictions, strict=True):
        record = {
            "row": f"{row.file}:{row.line}",
            "text": row.text,
            "pair": row.pair,
            "label": row.label,
            "predicted": prediction.label,
            "confidence": round(prediction.confidence, 6),
            "label_probability": round(prediction.probabilities.get(row.label, 0.0), 6),
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


def mistakes(run: str | Path, number: int = 20) -> list[Record]:
    """Return the wrong rows of a run, the most confident first: often errors in the labels.

    Args:
        run: A finished run's folder.
        number: How many at most.

    Raises:
        RunError: If the run's predictions cannot be read.
    """
    wrong = [record for record in read_records(run) if not record.is_correct]
    return sorted(wrong, key=lambda record: -record.confidence)[:number]
