"""Metrics of predictions on known rows, with how far they can be trusted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inlay.data.labelled import read_labelled
from inlay.data.rows import Example
from inlay.data.sources import read_dataset
from inlay.errors import DataError
from inlay.evaluation.predictor import load_predictor
from inlay.tasks.base import AbstractPrediction, AbstractTask


def report_on_baselines(
    task: AbstractTask,
    baselines: Mapping[str, Sequence[AbstractPrediction]],
    test: Sequence[Example],
    predictions: Sequence[AbstractPrediction],
) -> dict[str, Any]:
    """Score the baselines' answers, and say whether the adapter differs from them beyond noise."""
    ours = [task.counts(row, p) for row, p in zip(test, predictions, strict=True)]
    result: dict[str, Any] = {}
    for name, answers in baselines.items():
        theirs = [task.counts(row, p) for row, p in zip(test, answers, strict=True)]
        difference = task.headline.difference(theirs, ours)
        result[name] = {
            "metric": task.headline.name,
            task.headline.name: task.headline.value(theirs),
            "gain": difference.mean,
            "gain_ci": [difference.low, difference.high],
            "p_value": difference.p_value,
            "beyond_noise": difference.is_beyond_noise,
        }
    return result


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    split: str = "test",
    member: str | None = None,
    task_options: Mapping[str, Any] | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """Measure a saved adapter on rows whose answers are known.

    Args:
        run: A run's folder or an adapter's.
        data: File, folder or name; the data the run was trained on if not given.
        split: Which split of the data; a single file is read whole.
        member: Which of several tasks that were learnt together; needed with other data.
        task_options: Options of the task in the place of those that were saved with it.
        columns: Column names and label map, as `inlay.data.sources.read_dataset` takes them.

    Raises:
        DataError: If the data cannot be used, or hold a label that the adapter does not know.
        FormatError: If the run or adapter cannot be read.
        ConfigError: If an option of the task cannot be used.
    """
    predictor = load_predictor(run)
    card = predictor.manifest.card
    if data is None and "data" not in card:
        raise DataError(f"{run} keeps no data of its own; name some to measure it on.")
    if data is None:
        predictor = predictor.with_options(task_options or {})
        source = str(card["data"]["source"])
        splits = read_dataset(source, **{**card["data"]["options"], **columns}).splits
        if split not in splits:
            raise DataError(f"{source} has no split {split!r}; it has {', '.join(splits)}.")
        rows, notes = splits[split], list[str]()
    else:
        source = str(data)
        predictor = predictor if member is None else predictor.member(member)
        predictor = predictor.with_options(task_options or {})
        rows, notes = read_labelled(source, split=split, task=predictor.task.name, **columns)
    predictor.task.check_known(rows, source)
    predictor.task.check_measurable(rows, source)
    encoded = predictor.encode(rows)
    answers = predictor.answer(rows, encoded=encoded)
    return {
        "run": str(run), "data": source, **predictor.task.full_report(rows, answers),
        "notes": [
            *notes, *predictor.reading_notes(rows, encoded), *predictor.finish_notes(answers)
        ],
    }  # fmt: skip
