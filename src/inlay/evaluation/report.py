"""Metrics of predictions on labelled rows, with how far they can be trusted."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inlay.data.labelled import read_labelled
from inlay.data.rows import Example
from inlay.data.sources import read_dataset
from inlay.errors import DataError
from inlay.evaluation.baselines import majority, words_and_regression
from inlay.evaluation.predictor import load_predictor
from inlay.metrics.classification import (
    accuracy,
    calibration_error,
    confusions,
    macro_f1,
    matthews,
    per_label,
)
from inlay.metrics.significance import bootstrap_interval, paired_difference
from inlay.tasks.base import Prediction


def report_on(rows: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return accuracy, macro-F1 and the rest, with a 95 % interval for the accuracy."""
    known = [row.label for row in rows]
    chosen = [prediction.label for prediction in predictions]
    correct = [k == c for k, c in zip(known, chosen, strict=True)]
    low, high = bootstrap_interval([float(right) for right in correct])
    scores = per_label(known, chosen)
    weakest = min(
        (label for label in scores if scores[label].support),
        key=lambda label: (scores[label].f1, str(label)),
        default=None,
    )
    mistakes = confusions(known, chosen)
    return {
        "accuracy": accuracy(known, chosen),
        "accuracy_ci": [low, high],
        "macro_f1": macro_f1(known, chosen),
        "matthews": matthews(known, chosen),
        "calibration_error": calibration_error([p.confidence for p in predictions], correct),
        "log_loss": _log_loss(known, predictions),
        "n": len(rows),
        "weakest_label": weakest,
        "weakest_f1": scores[weakest].f1 if weakest is not None else None,
        "weakest_taken_for": next((p for k, p, _ in mistakes if k == weakest), None),
    }


def _log_loss(known: Sequence[str], predictions: Sequence[Prediction]) -> float:
    if not known:
        return 0.0
    likely = [p.probabilities.get(k, 0.0) for k, p in zip(known, predictions, strict=True)]
    return -sum(math.log(max(value, 1e-12)) for value in likely) / len(likely)


def report_on_baselines(
    train: Sequence[Example], test: Sequence[Example], predictions: Sequence[Prediction]
) -> dict[str, Any]:
    """Score the free baselines and say whether the adapter differs from them beyond noise."""
    known = [row.label for row in test]
    ours = [p.label == label for p, label in zip(predictions, known, strict=True)]
    result: dict[str, Any] = {}
    for name, predict in (("majority", majority), ("tfidf_logreg", words_and_regression)):
        chosen = predict(train, test)
        theirs = [label == k for label, k in zip(chosen, known, strict=True)]
        difference = paired_difference(theirs, ours)
        result[name] = {
            "accuracy": accuracy(known, chosen),
            "macro_f1": macro_f1(known, chosen),
            "gain": difference.mean,
            "gain_ci": [difference.low, difference.high],
            "p_value": difference.p_value,
            "beyond_noise": difference.is_beyond_noise,
        }
    return result


def evaluate(
    run: str | Path, data: str | Path | None = None, *, split: str = "test", **columns: Any
) -> dict[str, Any]:
    """Measure a saved adapter on labelled rows.

    Args:
        run: A run's folder or an adapter's.
        data: File, folder or name; the data the run was trained on if not given.
        split: Which split of the data; a single file is read whole.
        columns: Column names and label map, as `inlay.data.sources.read_dataset` takes them.

    Raises:
        DataError: If the data cannot be used, or hold a label that the adapter does not know.
        FormatError: If the run or adapter cannot be read.
    """
    predictor = load_predictor(run)
    card = predictor.manifest.card
    if data is None:
        source = str(card["data"]["source"])
        splits = read_dataset(source, **{**card["data"]["options"], **columns}).splits
        if split not in splits:
            raise DataError(f"{source} has no split {split!r}; it has {', '.join(splits)}.")
        rows = splits[split]
    else:
        source = str(data)
        rows = read_labelled(source, split=split, **columns)
    labels = set(card["task"]["labels"])
    unknown = sorted({row.label for row in rows} - labels)
    if unknown:
        count = sum(row.label in unknown for row in rows)
        raise DataError(
            f"label {unknown[0]!r} occurs in {source} ({count} rows with unknown labels) but the "
            f"adapter knows only {len(labels)} others. Rename it with --label-map, or leave the "
            "rows out."
        )
    predictions = predictor.predict([(r.text, r.pair) if r.pair else r.text for r in rows])
    return {"run": str(run), "data": source, **report_on(rows, predictions)}
