"""The loop of a pretraining, readable from top to bottom."""

import dataclasses
import math
import time
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from inlay.errors import ResourceError, TrainingError, is_out_of_memory
from inlay.pretraining.config import PretrainConfig
from inlay.pretraining.objectives import IGNORED, AbstractObjective
from inlay.pretraining.perplexity import logits_of, measure
from inlay.pretraining.stream import Stream, order_of
from inlay.training.checkpoint import (
    Checkpoints,
    Snapshot,
    flatten_optimizer,
    random_state,
    restore_random_state,
    unflatten_optimizer,
)
from inlay.training.interrupt import StopRequest
from inlay.training.reporter import Evaluation, Reporter

_CHECKPOINT_SHARE = 0.05
"""Share of the time that writing checkpoints may take, at most."""

_MAX_GRAD_NORM = 1.0


@final
@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a pretraining is; plain data, part of every checkpoint."""

    step: int = 0
    tokens: int = 0
    """Tokens of text that have gone through the model, repetitions included."""
    loss_sum: float = 0.0
    loss_count: int = 0
    best_loss: float = math.inf
    num_evaluations: int = 0
    seconds: float = 0.0
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


@final
@dataclass(kw_only=True)
class Job:
    """All that the loop works on."""

    config: PretrainConfig
    model: Any
    tokenizer: Any
    objective: AbstractObjective
    train: Stream
    held_out: Stream
    optimizer: Optimizer
    schedule: LambdaLR
    num_steps: int
    autocast: bool
    checkpoints: Checkpoints
    reporter: Reporter
    stop: StopRequest

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which each training sequence is seen once."""
        return math.ceil(len(self.train) / self.config.batch_size)


def fit(job: Job, snapshot: Snapshot | None) -> Progress:
    """Train for all steps; the last weights are the result.

    What a step does is a pure function of seed, step, weights and PyTorch's generators, so going
    on from a checkpoint is the same as not having stopped.

    Args:
        job: Model, text and settings.
        snapshot: Where to go on from, or `None` to begin.

    Raises:
        Interrupted: If a signal asked to stop; a checkpoint was written.
        TrainingError: If the loss or a gradient is not a number.
        ResourceError: If memory or disk does not suffice.
    """
    progress = _begin(job, snapshot)
    every = job.config.eval_every or max(1, math.ceil(job.num_steps / 5))
    last_saved, save_seconds = time.monotonic(), 0.0
    while progress.step < job.num_steps:
        loss = _step(job, progress)
        job.reporter.on_step(progress.step, job.num_steps, loss)
        if progress.step % every == 0 or progress.step == job.num_steps:
            _evaluate(job, progress)
        if job.stop.is_asked():
            _save(job, progress)
            raise job.stop.interrupted(
                f"saved at step {progress.step}; the same command goes on from there"
            )
        wait = max(job.config.checkpoint_seconds, save_seconds / _CHECKPOINT_SHARE)
        if progress.step == job.num_steps or time.monotonic() - last_saved >= wait:
            save_seconds = _save(job, progress)
            last_saved = time.monotonic()
    return progress


def indices_of(job: Job, step: int) -> list[int]:
    """Return the sequences of a step, counted from 0."""
    epoch, place = divmod(step, job.steps_per_epoch)
    order = order_of(len(job.train), seed=job.config.seed, epoch=epoch)
    start = place * job.config.batch_size
    return order[start : start + job.config.batch_size]


def _begin(job: Job, snapshot: Snapshot | None) -> Progress:
    if snapshot is None:
        return Progress(before=_measure(job))
    own = dict(job.model.named_parameters())
    with torch.no_grad():
        for name, value in snapshot.weights.items():
            own[name].copy_(value)
    state = snapshot.state
    job.optimizer.load_state_dict(unflatten_optimizer(snapshot.optimizer, state["optimizer"]))
    job.schedule.load_state_dict(state["schedule"])
    restore_random_state(state["random"], job.model.device)
    return Progress(**state["progress"])


def _step(job: Job, progress: Progress) -> float:
    """Run forward and backward over the step's sequences and update once; return the loss."""
    started = time.monotonic()
    rows = job.train.rows(indices_of(job, progress.step))
    generator = torch.Generator().manual_seed(job.config.seed * 1_000_003 + progress.step)
    batch = job.objective.batch(rows, generator)
    job.model.train()
    try:
        # Entered anew at every step: autocast keeps casts of weights for as long as it is open.
        with torch.autocast(job.model.device.type, torch.bfloat16, enabled=job.autocast):
            logits = logits_of(job.model, batch)
        labels = batch.labels.to(logits.device).flatten()
        loss = F.cross_entropy(logits.float().flatten(0, 1), labels, ignore_index=IGNORED)
        loss.backward()  # type: ignore[no-untyped-call]
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"memory does not suffice for {len(rows)} sequences of {len(rows[0])} tokens. Lower "
            "--batch-size or --max-length, or take a smaller --size."
        ) from error
    value = float(loss.detach())
    norm = float(torch.nn.utils.clip_grad_norm_(job.model.parameters(), _MAX_GRAD_NORM))
    if not math.isfinite(value) or not math.isfinite(norm):
        raise TrainingError(
            f"the loss is {value:g} and the gradient {norm:g} at step {progress.step + 1}. Lower "
            f"the learning rate ({job.optimizer.param_groups[0]['initial_lr']:g}) or use "
            "--precision float32."
        )
    job.optimizer.step()
    job.schedule.step()
    job.optimizer.zero_grad()
    progress.step += 1
    progress.tokens += sum(len(row) for row in rows)
    progress.loss_sum += value
    progress.loss_count += 1
    progress.seconds += time.monotonic() - started
    return value


def _measure(job: Job) -> dict[str, float]:
    return measure(
        job.model, job.objective, job.held_out, batch_size=job.config.batch_size,
        autocast=job.autocast,
    )  # fmt: skip


def _evaluate(job: Job, progress: Progress) -> None:
    """Measure on held-out text and tell it."""
    progress.after = _measure(job)
    progress.num_evaluations += 1
    is_best = progress.after["loss"] < progress.best_loss
    progress.best_loss = min(progress.best_loss, progress.after["loss"])
    train_loss = progress.loss_sum / max(1, progress.loss_count)
    progress.loss_sum, progress.loss_count = 0.0, 0
    job.reporter.on_evaluation(
        Evaluation(
            epoch=round(progress.step / job.steps_per_epoch, 2), step=progress.step,
            train_loss=train_loss, metrics=progress.after, is_best=is_best,
        )
    )  # fmt: skip


def _save(job: Job, progress: Progress) -> float:
    """Write a checkpoint; return how long it took, in seconds."""
    started = time.monotonic()
    tensors, plain = flatten_optimizer(job.optimizer.state_dict())
    schedule = job.schedule.state_dict()
    state = {
        "progress": dataclasses.asdict(progress),
        "optimizer": plain,
        "schedule": schedule | {"lr_lambdas": [None] * len(job.optimizer.param_groups)},
        "random": random_state(job.model.device),
    }
    weights = dict(job.model.named_parameters())
    snapshot = Snapshot(weights=weights, best={}, optimizer=tensors, state=state)
    job.checkpoints.save(snapshot, progress.step)
    return time.monotonic() - started
