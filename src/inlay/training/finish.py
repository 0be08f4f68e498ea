"""The end of a training: calibrate, measure, save, check, and write the metrics last of all."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from inlay.data.rows import Dataset, Example
from inlay.evaluation.answering import answer_rows
from inlay.evaluation.records import PREDICTIONS_FILE, to_jsonl
from inlay.evaluation.report import report_on_baselines
from inlay.evaluation.scoring import score_rows
from inlay.store.atomic import write_atomically
from inlay.store.save import save
from inlay.tasks.base import AbstractPrediction, AbstractTask, Encoded
from inlay.tasks.writing import AbstractWritingTask
from inlay.training.prepare import Prepared
from inlay.training.reading import data_options
from inlay.training.reload_check import ROWS, check_reload
from inlay.training.run_folder import ADAPTER_FOLDER, METRICS_FILE, RunFolder, versions
from inlay.training.state import Progress


def finish(prepared: Prepared, dataset: Dataset, folder: RunFolder, progress: Progress) -> None:
    """Calibrate, measure on test, save, check, and write the metrics last of all."""
    training = prepared.training
    test = dataset.splits["test"]
    training.reporter.on_note("measuring on test, against baselines and in a fresh process")
    validation = _scores(prepared, "validation")
    task = prepared.task.calibrated(validation, prepared.encoded["validation"])
    predictions = _answers(prepared, task, test, prepared.encoded["test"])
    if isinstance(task, AbstractWritingTask):
        for note in task.finish_notes(predictions):
            training.reporter.on_note(f"test: {note}")
    report = task.full_report(test, predictions)
    card = _card(prepared, dataset, task, report)
    adapter = folder.path / ADAPTER_FOLDER
    save(training.model, prepared.name, adapter, card=card)
    few = [row for row in prepared.encoded["test"] if row.row < ROWS]
    # What is replayed was computed in other batches and differs by rounding.
    with prepared.computing():
        scores = score_rows(
            task, training.model, training.head, few, training.tokenizer, autocast=training.autocast
        )
        own = _answers(prepared, task, test[:ROWS], few, scores)
    # A fresh process takes as long as the baselines to get ready, so they run side by side.
    with ThreadPoolExecutor(max_workers=1) as pool:
        check = pool.submit(
            check_reload, adapter, test[:ROWS], scores, [p.answer for p in own],
            str(training.accelerator.device),
        )  # fmt: skip
        baselines = report_on_baselines(
            task, _baselines(prepared, task, dataset), test, predictions
        )
    results = {
        "validation": _validation_report(prepared, task, dataset, validation),
        "test": report,
        "baselines": baselines,
        "reload_check": check.result(),
    }
    write_atomically(folder.path / PREDICTIONS_FILE, to_jsonl(task, test, predictions))
    metrics = _facts(prepared, dataset, progress) | results | {"run": str(folder.path)}
    folder.write_json(METRICS_FILE, metrics)
    training.checkpoints.clear()


def _answers(
    prepared: Prepared,
    task: AbstractTask,
    rows: Sequence[Example],
    encoded: Sequence[Encoded],
    kept: Sequence[torch.Tensor] | None = None,
) -> list[AbstractPrediction]:
    training = prepared.training
    return answer_rows(
        task, training.model, training.head, encoded, rows, training.tokenizer, kept=kept,
        autocast=training.autocast, positions=training.scored_at_once,
    )  # fmt: skip


def _baselines(
    prepared: Prepared, task: AbstractTask, dataset: Dataset
) -> dict[str, list[AbstractPrediction]]:
    test, encoded = dataset.splits["test"], prepared.encoded
    tokenizer = prepared.training.tokenizer
    return {
        **task.baselines(dataset.splits["train"], test),
        **task.token_baselines(encoded["train"], encoded["test"], tokenizer, len(test)),
    }


def report_on_validation(prepared: Prepared, dataset: Dataset) -> dict[str, Any]:
    """Return the report on validation of the adapter as it is."""
    kept = _scores(prepared, "validation")
    task = prepared.task.calibrated(kept, prepared.encoded["validation"])
    return _validation_report(prepared, task, dataset, kept)


def _validation_report(
    prepared: Prepared, task: AbstractTask, dataset: Dataset, kept: list[torch.Tensor]
) -> dict[str, Any]:
    """Report on validation; where answers are written token by token, only what scores tell."""
    rows, encoded = dataset.splits["validation"], prepared.encoded["validation"]
    if isinstance(task, AbstractWritingTask) and task.writes_for_report:
        return {"metric": task.better, **task.metrics(kept, encoded), "n": len(rows)}
    return task.full_report(rows, task.decode(kept, encoded, rows))


def _card(
    prepared: Prepared, dataset: Dataset, task: AbstractTask, report: dict[str, Any]
) -> dict[str, Any]:
    """Return what is kept beside the weights, so that the adapter's folder suffices to predict."""
    config = prepared.training.config
    return {
        "task": task.settings(),
        "base": _lasting_name(prepared),
        "max_length": prepared.max_length,
        "numerics": dataclasses.asdict(prepared.numerics),
        "data": {
            "name": dataset.name,
            "source": _lasting_source(config.data),
            "options": data_options(config),
            "has_pairs": dataset.has_pairs,
            **_pairs_of_members(dataset),
        },
        "metrics": {"test": report},
    }


def _facts(prepared: Prepared, dataset: Dataset, progress: Progress) -> dict[str, Any]:
    """Return what was trained, on what, and how long it took."""
    config, entry = prepared.training.config, prepared.training.entry
    return {
        "task": prepared.task.name,
        "headline": dataclasses.asdict(prepared.task.headline),
        "data": dataset.name,
        "has_pairs": dataset.has_pairs is not False,
        "base": prepared.base.id,
        "method": config.method,
        "at": config.at,
        "layers": config.layers,
        "stack_on": config.stack_on,
        "seed": config.seed,
        "learning_rate": config.learning_rate,
        "batch_size": config.batch_size,
        "precision": prepared.numerics.precision,
        "trainable_parameters": entry.num_adapter_parameters + entry.num_head_parameters,
        "adapter_parameters": entry.num_adapter_parameters,
        "head_parameters": entry.num_head_parameters,
        "total_parameters": base_size(prepared),
        "train_seconds": round(progress.seconds, 2),
        "epochs_run": progress.epoch,
        "best_epoch": progress.best_epoch,
        "best_score": progress.best_score,
        "best_step": progress.best_step,
        "versions": versions(),
    }


def _pairs_of_members(dataset: Dataset) -> dict[str, dict[str, bool | None]]:
    """Tell the same of each of several tasks."""
    if dataset.members is None:
        return {}
    members = dataset.members.datasets
    return {"members_have_pairs": {name: own.has_pairs for name, own in members.items()}}


def _scores(prepared: Prepared, split: str) -> list[torch.Tensor]:
    training = prepared.training
    return score_rows(
        prepared.task, training.model, training.head, prepared.encoded[split],
        training.tokenizer, autocast=training.autocast, positions=training.scored_at_once,
    )  # fmt: skip


def _lasting_name(prepared: Prepared) -> str:
    """Name the base so that it is found from any folder."""
    base = prepared.base
    return str(Path(base.source).resolve()) if base.origin == "on disk" else base.id


def _lasting_source(data: str) -> str:
    path = Path(data)
    return str(path.resolve()) if path.exists() else data


def base_size(prepared: Prepared) -> int:
    """Count the weights of the base, those of adapters left out."""
    with prepared.adapters.original_weights():
        own = {id(parameter) for parameter in prepared.adapters.parameters()}
        parameters = prepared.training.model.parameters()
        return sum(p.numel() for p in parameters if id(p) not in own)
