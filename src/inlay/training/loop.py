"""The training loop, readable from top to bottom."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from inlay.adapters.entry import Entry
from inlay.errors import ResourceError, TrainingError, is_out_of_memory
from inlay.evaluation.scoring import ENOUGH, POSITIONS, score_rows
from inlay.tasks.base import AbstractTask, Encoded
from inlay.training.batches import batch_order, count_steps, mixture
from inlay.training.checkpoint import (
    Checkpoints,
    Snapshot,
    flatten_optimizer,
    random_state,
    restore_random_state,
    unflatten_optimizer,
)
from inlay.training.config import TrainConfig
from inlay.training.interrupt import Interrupted, StopRequest
from inlay.training.reporter import Evaluation, Reporter

_CHECKPOINT_SHARE = 0.05
"""Share of the time that writing checkpoints may take, at most."""


@final
@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a training is; plain data, part of every checkpoint."""

    epoch: int = 0
    group: int = 0
    """Groups of batches done in this epoch."""
    step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_score: float = -math.inf
    best_loss: float = math.inf
    best_step: int = 0
    best_epoch: int = 0
    without_gain: int = 0
    num_evaluations: int = 0
    evaluated_step: int = 0
    """The last step after which validation was measured."""
    is_done: bool = False
    seconds: float = 0.0
    micro_batch: int = 0
    """Rows that go through the model at once; smaller than the batch if memory ran out."""
    recent: list[list[int]] = field(default_factory=list)
    """Row numbers of the last three steps, to be named if the loss is not a number."""

    def is_over(self) -> bool:
        """Tell whether there is nothing left to train."""
        return self.is_done


@final
@dataclass(kw_only=True)
class Training:
    """All that the loop works on."""

    config: TrainConfig
    task: AbstractTask
    model: nn.Module
    entry: Entry
    head: nn.Module | None
    tokenizer: Any
    train: Sequence[Encoded]
    validation: Sequence[Encoded]
    row_name: Callable[[int], str]
    optimizer: Optimizer
    schedule: LambdaLR
    accelerator: Accelerator
    trains_base: bool
    trunk_dropout: bool
    """Whether a base that is not trained runs with its dropout all the same."""
    autocast: bool
    checkpoints: Checkpoints
    reporter: Reporter
    stop: StopRequest
    run: str
    micro_batch: int
    """Rows that go through the model at once at first."""
    on_checkpoint: Callable[[], None] = lambda: None
    """Called before a checkpoint is written."""

    @property
    def scored_at_once(self) -> int:
        """Positions of a batch in evaluation: those of a step, as that was seen to fit, or few."""
        longest = max(row.length for row in self.train)
        return min(POSITIONS, max(ENOUGH, self.micro_batch * longest))


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
        num_steps = steps_of(training)
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
                loss = _step(training, progress, group)
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


def steps_of(training: Training) -> int:
    """Count the optimiser's steps of a whole training."""
    return count_steps(training.config, mixture(training.task, training.train)[1])


def set_modes(training: Training) -> None:
    """Train what is trained; a frozen trunk runs as it will be used, without dropout by default."""
    training.model.train(training.trains_base or training.trunk_dropout)
    training.entry.train()


def _begin(training: Training, snapshot: Snapshot | None) -> tuple[Progress, dict[str, Tensor]]:
    if snapshot is None:
        return Progress(micro_batch=training.micro_batch), {}
    state = snapshot.state
    own = training.entry.tensors()
    with torch.no_grad():
        for key, value in snapshot.weights.items():
            own[key].copy_(value)
    training.optimizer.load_state_dict(unflatten_optimizer(snapshot.optimizer, state["optimizer"]))
    training.schedule.load_state_dict(state["schedule"])
    restore_random_state(state["random"], training.accelerator.device)
    progress = Progress(**state["progress"])
    # There may be less memory now; or it ran out before, where nothing told that it would.
    training.micro_batch = progress.micro_batch = min(progress.micro_batch, training.micro_batch)
    return progress, snapshot.best


def _save(training: Training, progress: Progress, best: dict[str, Tensor]) -> float:
    """Write a checkpoint; return how long it took, in seconds."""
    started = time.monotonic()
    weights = training.entry.tensors()
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise TrainingError(_not_a_number(training, progress, "a weight is not finite after"))
    training.on_checkpoint()
    if training.accelerator.is_main_process:
        tensors, plain = flatten_optimizer(training.optimizer.state_dict())
        schedule = training.schedule.state_dict()
        schedule.pop("lr_lambdas", None)
        state = {
            "progress": dataclasses.asdict(progress),
            "optimizer": plain,
            "schedule": schedule | {"lr_lambdas": [None] * len(training.optimizer.param_groups)},
            "random": random_state(training.accelerator.device),
        }
        training.checkpoints.save(
            Snapshot(weights=weights, best=best, optimizer=tensors, state=state), progress.step
        )
    return time.monotonic() - started


def _interrupted(training: Training, step: int) -> Interrupted:
    number = training.stop.signal_number or 0
    return Interrupted(f"saved at step {step}; continue with: inlay resume {training.run}", number)


def _step(training: Training, progress: Progress, rows: list[int]) -> float:
    """Run forward and backward over the rows and update once; return the mean loss."""
    started = time.monotonic()
    progress.recent = [*progress.recent, rows][-3:]
    while True:
        try:
            loss = forward_backward(training, rows, progress.micro_batch)
            break
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            _halve(training, progress, rows)
    if not math.isfinite(loss):
        raise TrainingError(_not_a_number(training, progress, f"the loss is {loss} at"))
    parameters = [p for group in training.optimizer.param_groups for p in group["params"]]
    norm = training.accelerator.clip_grad_norm_(parameters, training.config.max_grad_norm)
    if norm is not None and not math.isfinite(norm):
        raise TrainingError(_not_a_number(training, progress, f"the gradient is {norm:g} at"))
    training.optimizer.step()
    training.schedule.step()
    training.optimizer.zero_grad()
    progress.step += 1
    progress.group += 1
    progress.loss_sum += loss
    progress.loss_count += 1
    progress.seconds += time.monotonic() - started
    return loss


def forward_backward(training: Training, rows: list[int], micro_batch: int) -> float:
    """Sum the gradients of parts of a batch, weighted so that they equal those of the whole."""
    accelerator = training.accelerator
    own = rows[accelerator.process_index :: accelerator.num_processes]
    training.optimizer.zero_grad()
    total = 0.0
    for chosen in _parts(training, own, micro_batch):
        batch = training.task.collate(chosen, training.tokenizer).to(accelerator.device)
        # Entered anew at every step: autocast keeps casts of weights for as long as it is open.
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=training.autocast):
            scores = training.task.scores(training.model, training.head, batch)
        loss = training.task.loss(
            scores.float(), batch, label_smoothing=training.config.label_smoothing
        )
        share = loss * (len(chosen) / len(rows))
        accelerator.backward(share)
        total += float(share.detach())
    if accelerator.num_processes > 1:
        for group in training.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = accelerator.reduce(parameter.grad, "sum")
    return total


def _parts(training: Training, rows: Sequence[int], micro_batch: int) -> Iterator[list[Encoded]]:
    """Cut the rows of a step into what goes through the model at once: rows of one kind."""
    encoded = [training.train[row] for row in rows]
    for _, own in itertools.groupby(encoded, key=training.task.kind_of):
        same = list(own)
        for start in range(0, len(same), micro_batch):
            yield same[start : start + micro_batch]


def _halve(training: Training, progress: Progress, rows: list[int]) -> None:
    training.optimizer.zero_grad()
    longest = max(training.train[row].length for row in rows)
    training.micro_batch = progress.micro_batch = half_of(progress.micro_batch, longest)
    training.reporter.on_note(
        f"out of memory at {longest} tokens: {progress.micro_batch} rows at a time from here on, "
        "summed up to the same batch"
    )


def half_of(micro_batch: int, longest: int) -> int:
    """Return how many rows to try next after memory ran out.

    Args:
        micro_batch: Rows that were too many.
        longest: Tokens of the longest of them, for the message.

    Raises:
        ResourceError: If it was a single row.
    """
    if micro_batch == 1:
        raise ResourceError(
            f"memory does not suffice for one row of {longest} tokens. Lower --max-length, use "
            "fewer --layers, or take a smaller --base."
        )
    return math.ceil(micro_batch / 2)


def _not_a_number(training: Training, progress: Progress, what: str) -> str:
    names = [training.row_name(row) for rows in progress.recent for row in rows]
    saved = training.checkpoints.paths()
    kept = f" The last good checkpoint is {saved[-1].name}." if saved else ""
    step = progress.step if what.endswith("after") else progress.step + 1
    return (
        f"{what} step {step}. Rows of the last "
        f"{len(progress.recent)} batches: {', '.join(names[:12])}"
        f"{' ...' if len(names) > 12 else ''}. Lower the learning rate "
        f"({training.config.learning_rate:g}) or use --precision float32.{kept}"
    )


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
        what = "a score on validation is not finite after"
        raise TrainingError(_not_a_number(training, progress, what))
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
