"""The training loop: epochs, evaluations, checkpoints, and when it stops."""

import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from inlay.evaluation.scoring import score_rows
from inlay.training.batches import batch_order, mixture
from inlay.training.checkpoint import (
    Snapshot,
    flatten_optimizer,
    random_state,
    restore_random_state,
    unflatten_optimizer,
)
from inlay.training.config import TrainConfig
from inlay.training.interrupt import Interrupted
from inlay.training.reporter import Evaluation
from inlay.training.state import Progress, Training
from inlay.training.step import not_a_number, run_step, set_modes

_CHECKPOINT_SHARE = 0.05
"""Share of the time that writing checkpoints may take, at most."""


@final
class Fitting:
    """A training that can be run in parts.

    Args:
        training: Model, rows and settings.
        snapshot: Where to go on from, or `None` to begin.
    """

    def __init__(self, training: Training, snapshot: Snapshot | None) -> None:
        self.training = training
        self.progress, self.best = _begin(training, snapshot)

    def run(self, to_epoch: float = math.inf) -> None:
        """Train until the epochs are over or validation has not gained for long enough.

        Args:
            to_epoch: Stop here, after an evaluation and a checkpoint, even amid an epoch; the next
                call goes on.

        Raises:
            Interrupted: If a signal asked to stop; a checkpoint was written.
            TrainingError: If the loss, a gradient or a score on validation is not a number.
            ResourceError: If memory does not suffice for a single row, or the disk is full.
        """
        training, progress, config = self.training, self.progress, self.training.config
        lengths = [row.length for row in training.train]
        num_steps = training.num_steps
        last_saved, save_seconds = time.monotonic(), 0.0
        while not progress.is_over() and progress.epoch < to_epoch:
            groups = _groups(training, lengths, progress.epoch)
            # Less a hair, as a point that is the end of a step may come out just behind it.
            end = math.ceil(min(1.0, to_epoch - progress.epoch) * len(groups) - 1e-6)
            was_evaluated = progress.step > 0 and progress.evaluated_step == progress.step
            if progress.group > end or (progress.group == end and was_evaluated):
                break
            set_modes(training)
            for group in groups[progress.group : end]:
                loss = run_step(training, progress, group)
                training.reporter.on_step(progress.step, num_steps, loss)
                if progress.group < end and _is_evaluation_due(config, progress):
                    self.best = _evaluate(training, progress, self.best, len(groups))
                if training.stop.is_asked():
                    _save(training, progress, self.best)
                    raise _interrupted(training, progress.step)
                wait = max(config.checkpoint_seconds, save_seconds / _CHECKPOINT_SHARE)
                if time.monotonic() - last_saved >= wait:
                    save_seconds = _save(training, progress, self.best)
                    last_saved = time.monotonic()
                if progress.is_over():
                    break
            else:
                if progress.group == len(groups):
                    progress.epoch, progress.group = progress.epoch + 1, 0
                self.best = _evaluate(
                    training, progress, self.best, len(groups),
                    is_asked=progress.group == 0 or _is_evaluation_due(config, progress),
                )  # fmt: skip
            save_seconds = _save(training, progress, self.best)
            last_saved = time.monotonic()
            if training.stop.is_asked():
                raise _interrupted(training, progress.step)

    def restore_best(self) -> None:
        """Put the adapter's tensors at the best evaluation in place."""
        own = self.training.entry.tensors()
        with torch.no_grad():
            for key, value in self.best.items():
                own[key].copy_(value)


def _groups(training: Training, lengths: Sequence[int], epoch: int) -> list[list[int]]:
    """Return the row numbers of each step of an epoch."""
    config = training.config
    kinds, counts = mixture(training.task, training.train)
    batches = batch_order(
        lengths, batch_size=config.batch_size, seed=config.seed, epoch=epoch, kinds=kinds,
        counts=counts,
    )  # fmt: skip
    size = config.gradient_accumulation
    return [list(itertools.chain(*batches[i : i + size])) for i in range(0, len(batches), size)]


def _is_evaluation_due(config: TrainConfig, progress: Progress) -> bool:
    """Tell whether an evaluation was asked for after this step."""
    return config.eval_every is not None and progress.step % config.eval_every == 0


def _begin(training: Training, snapshot: Snapshot | None) -> tuple[Progress, dict[str, Tensor]]:
    if snapshot is None:
        return Progress(), {}
    state = snapshot.state
    own = training.entry.tensors()
    with torch.no_grad():
        for key, value in snapshot.weights.items():
            own[key].copy_(value)
    training.optimizer.load_state_dict(unflatten_optimizer(snapshot.optimizer, state["optimizer"]))
    training.schedule.load_state_dict(state["schedule"])
    restore_random_state(state["random"], training.accelerator.device)
    # There may be less memory now; or it ran out before, where nothing told that it would.
    training.micro_batch = min(state["micro_batch"], training.micro_batch)
    return Progress(**state["progress"]), snapshot.best


def _save(training: Training, progress: Progress, best: dict[str, Tensor]) -> float:
    """Write a checkpoint; return how long it took, in seconds."""
    started = time.monotonic()
    weights = training.entry.tensors()
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise not_a_number(training, progress, "a weight is not finite after")
    training.on_checkpoint()
    if training.accelerator.is_main_process:
        tensors, plain = flatten_optimizer(training.optimizer.state_dict())
        schedule = training.schedule.state_dict()
        schedule.pop("lr_lambdas", None)
        state = {
            "progress": dataclasses.asdict(progress),
            "micro_batch": training.micro_batch,
            "optimizer": plain,
            "schedule": schedule | {"lr_lambdas": [None] * len(training.optimizer.param_groups)},
            "random": random_state(training.accelerator.device),
        }
        training.checkpoints.save(
            Snapshot(weights=weights, best=best, optimizer=tensors, state=state), progress.step
        )
    return time.monotonic() - started


def _interrupted(training: Training, step: int) -> Interrupted:
    message = f"saved at step {step}; continue with: inlay resume {training.run}"
    return training.stop.interrupted(message)


def _evaluate(
    training: Training,
    progress: Progress,
    best: dict[str, Tensor],
    num_groups: int,
    *,
    is_asked: bool = True,
) -> dict[str, Tensor]:
    """Measure on validation, keep the best state, and decide whether to go on.

    An epoch has `num_groups` steps. What only others ask for is not held against `patience`.
    """
    scores = score_rows(
        training.task, training.model, training.head, training.validation, training.tokenizer,
        autocast=training.autocast, positions=training.scored_at_once,
    )  # fmt: skip
    if not all(bool(torch.isfinite(own).all()) for own in scores):
        raise not_a_number(training, progress, "a score on validation is not finite after")
    metrics = training.task.metrics(scores, training.validation)
    progress.num_evaluations += 1
    progress.evaluated_step = progress.step
    epoch = progress.epoch + (progress.group / num_groups if progress.group else 0)
    # Of equal scores the lower loss is better: a tagger's F1 stays 0 for as long as it learns what
    # is no entity, and must not be given up for that.
    score = (metrics[training.task.better], -metrics["loss"])
    is_best = score > (progress.best_score, -progress.best_loss)
    if is_best:
        progress.best_score, progress.best_loss = score[0], metrics["loss"]
        progress.best_step, progress.best_epoch = progress.step, math.ceil(epoch)
        progress.without_gain = 0
        best = {key: value.detach().clone() for key, value in training.entry.tensors().items()}
    else:
        progress.without_gain += is_asked
    train_loss = progress.loss_sum / max(1, progress.loss_count)
    progress.loss_sum, progress.loss_count = 0.0, 0
    patient = progress.without_gain < training.config.patience
    progress.is_done = progress.epoch >= training.config.epochs or not patient
    training.reporter.on_evaluation(
        Evaluation(
            epoch=round(epoch, 2), step=progress.step, train_loss=train_loss, metrics=metrics,
            is_best=is_best,
        )
    )  # fmt: skip
    if not patient and progress.epoch < training.config.epochs:
        training.reporter.on_note(f"stopping: no gain for {progress.without_gain} evaluations")
    return best
