"""What this library saves over epochs, searches and tasks: `-m benchmarks.peers.ours_many`."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertModel  # noqa: F401 - counted as idle, like all that training imports
from typing_extensions import override

import inlay
from benchmarks.peers.ours import EndOfTraining, data_in, encoder, fill_entry, numbers
from benchmarks.peers.side import (
    Case,
    Settings,
    base_folder,
    inference_case,
    main,
    since_start,
    tokens,
)
from inlay.evaluation.scoring import score_rows
from inlay.training.config import resolve_config
from inlay.training.interrupt import StopRequest
from inlay.training.loop import Fitting, _groups
from inlay.training.opened import opened
from inlay.training.reporter import SilentReporter
from inlay.training.shelf import Shelf
from inlay.training.step import run_step, set_modes

SWEPT = {"learning_rate": "5e-4,1e-3,2e-3,4e-3", "reduction": "8,16"}
"""Eight configurations."""

_SETTINGS = ("method", "layers", "at", "learning_rate", "seed", "schedule")


def epoch(settings: Settings) -> Case:
    """Train for an epoch on rows of banking77, the caches full; evaluation apart.

    `accuracy` is that on test after all epochs that were run.
    """
    stack = ExitStack()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    os.environ["INLAY_CACHE"] = str(folder / "cache")
    given: dict[str, Any] = {key: settings[key] for key in _SETTINGS if key in settings}
    given |= {
        "data": data_in(folder, settings), "base": base_folder(), "out": str(folder / "run"),
        "epochs": int(settings["epochs"]), "replay": settings.get("replay", "yes") == "yes",
        "drop_unseen_labels": True,
    }  # fmt: skip
    run = stack.enter_context(
        opened(
            resolve_config(given), SilentReporter(), force=False, folder=None, stop=StopRequest(),
            shelf=Shelf(),
        )
    )  # fmt: skip
    training = run.prepared.training
    progress = Fitting(training, None).progress
    stack.enter_context(run.prepared.replaying())
    lengths = [row.length for row in training.train]

    def once() -> None:
        set_modes(training)
        for group in _groups(training, lengths, progress.epoch):
            run_step(training, progress, group)
        training.on_checkpoint()  # what was computed is replayed from then on
        progress.epoch += 1

    def facts() -> dict[str, Any]:
        score = accuracy(run)  # before the adapter is taken off
        stack.close()  # named here, as replay ends when nothing holds it any more
        return {
            "accuracy": score, "rows": len(training.train),
            "trained": sum(p.numel() for p in training.entry.parameters() if p.requires_grad),
            "epochs": progress.epoch, "replay": run.prepared.replay is not None,
            "numbers": numbers(training.model), "learning_rate": training.config.learning_rate,
        }  # fmt: skip

    return Case(run=once, facts=facts)


def accuracy(run: Any) -> float:
    """Return the accuracy on test of the weights as they are."""
    training, prepared = run.prepared.training, run.prepared
    rows = prepared.encoded["test"]
    with prepared.computing():
        kept = score_rows(training.task, training.model, training.head, rows, training.tokenizer)
    return training.task.metrics(kept, rows)["accuracy"]


def sweep(settings: Settings) -> Case:
    """Search eight configurations on rows of banking77, the cache empty; the best is finished."""
    found: dict[str, Any] = {}
    last = LastStep()

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["INLAY_CACHE"] = str(Path(folder) / "cache")
            halving = int(settings["halving"]) if "halving" in settings else None
            done = inlay.sweep(
                data_in(Path(folder), settings), SWEPT, halving=halving, base=base_folder(),
                reporter=last,
                epochs=int(settings["epochs"]), seed=int(settings.get("seed", "1")),
                out=Path(folder) / "out", drop_unseen_labels=True, patience=99,
            )  # fmt: skip
            found["accuracy"] = done.best.metrics["test"]["accuracy"]
        found["end_of_training"] = last.seconds
        found["configurations"] = len(done.points)
        found["epochs"] = sum(point.epochs for point in done.points)

    return Case(run=run, facts=lambda: found, once=True)


class LastStep(EndOfTraining):
    """Notes when the last step of all trainings was done; what is left is to measure the best."""

    @override
    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        self.seconds = since_start()


def tasks(settings: Settings) -> Case:
    """Answer for several tasks at once: `Parallel` of as many adapters over one trunk.

    With no task it is the base alone.
    """
    model = encoder(settings.get("dtype", "float32"))
    names = [f"a{index}" for index in range(int(settings["tasks"]))]
    for name in names:
        method = settings.get("method", "pfeiffer")
        fill_entry(model.adapters.add(name, method, layers=settings["layers"]), name)
    children = names or [None]
    model.adapters.use(inlay.Parallel(*children) if len(children) > 1 else children[0])
    case = inference_case(model, settings, about=numbers(model))

    def facts() -> dict[str, Any]:
        together = case.run()
        alone: list[Tensor] = []
        for child in children:
            model.adapters.use(child)
            alone.append(case.run())
        difference = float((together - torch.cat(alone)).abs().max())
        return {"batch": list(tokens(settings).shape), "numbers": numbers(model),
                "difference": difference}  # fmt: skip

    return Case(run=case.run, facts=facts)


if __name__ == "__main__":
    main({"epoch": epoch, "sweep": sweep, "tasks": tasks})
