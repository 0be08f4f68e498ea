"""Build what a training needs: rows as token ids, the base with its adapter, the optimiser."""

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, final

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.data.rows import Dataset, Example
from inlay.errors import BaseError, ConfigError, SiteError
from inlay.evaluation.predictor import output_width
from inlay.evaluation.truncation import truncation_notes
from inlay.methods.presets import Preset
from inlay.store.bases import Base, base_kind, resolve_base
from inlay.tasks.base import AbstractTask, Encoded
from inlay.tasks.registry import task_for
from inlay.training.checkpoint import Checkpoints, random_state, restore_random_state
from inlay.training.config import TrainConfig
from inlay.training.defaults import trains_base
from inlay.training.interrupt import StopRequest
from inlay.training.loop import (
    Training,
    count_steps,
    forward_backward,
    half_of,
    is_out_of_memory,
    mixture,
    steps_of,
)
from inlay.training.optim import build_optimizer, build_schedule
from inlay.training.precision import Numerics, choose_numerics
from inlay.training.replay import TrunkReplay
from inlay.training.reporter import Reporter
from inlay.training.shelf import Shelf
from inlay.training.stacking import load_below

_LONGEST = 256
"""Tokens of a text that are read if nothing is said; attention costs grow with the square."""


@final
@dataclass(kw_only=True, slots=True)
class Prepared:
    """A training that is ready to start, and what belongs to it."""

    training: Training
    adapters: Adapters
    name: str
    base: Base
    task: AbstractTask
    numerics: Numerics
    max_length: int
    encoded: dict[str, list[Encoded]]
    notes: list[str]
    replay: TrunkReplay | None
    replay_note: str

    def replaying(self) -> AbstractContextManager[None]:
        """Replay the trunk for the length of a `with` block, if that was prepared."""
        if self.replay is None:
            return nullcontext()
        # So that a run that is killed goes on from the very states it has learnt from.
        self.training.on_checkpoint = self.replay.publish
        return self.replay.active()


def prepare(
    config: TrainConfig,
    preset: Preset,
    dataset: Dataset,
    *,
    run: str,
    checkpoints: Checkpoints,
    reporter: Reporter,
    stop: StopRequest,
    shelf: Shelf | None = None,
) -> Prepared:
    """Load the base, place the adapter and encode all rows, once.

    Args:
        config: The settings.
        preset: The method that they name.
        dataset: The rows.
        run: The run's folder, for messages.
        checkpoints: Where they go.
        reporter: Is told what happens.
        stop: Says when to stop.
        shelf: What other trainings in this process have loaded and computed.

    Raises:
        BaseError: If the base cannot be loaded, or has no tokenizer.
        SiteError: If the placement matches nothing.
        ConfigError: If a setting cannot be used.
    """
    accelerator = _accelerator(config)
    updates_base = trains_base(preset)
    numerics = choose_numerics(
        config.precision, trains_base=updates_base, device=accelerator.device
    )
    base, shelf = resolve_base(config.base), shelf or Shelf()
    task = _task(config, dataset, base)
    adapters, tokenizer = shelf.base(base, numerics, task.needs, accelerator.device)
    # Before the seed is set, as it draws weights only where no other training has loaded it.
    below = load_below(config, adapters, base)
    torch.manual_seed(config.seed)
    head = task.build_head(output_width(adapters.sites))
    name = _free_name(adapters, dataset.name)
    entry = _add(adapters, config, preset, name, head, below)
    adapters.to(accelerator.device)
    max_length = _max_length(config, tokenizer, adapters.model)
    encoded = shelf.encoded(dataset, task, tokenizer, max_length)
    notes = truncation_notes(dataset.splits, encoded, task, tokenizer, max_length=max_length)
    train = task.training_rows(
        encoded["train"], model=adapters.model, tokenizer=tokenizer, max_length=max_length
    )
    notes += _packing_notes(encoded["train"], train)
    optimizer, schedule = _optimizer(config, entry, mixture(task, train)[1])
    training = Training(
        config=config, task=task, model=adapters.model, entry=entry, head=head, tokenizer=tokenizer,
        train=train, validation=encoded["validation"], run=run, optimizer=optimizer,
        row_name=_row_namer(dataset.splits["train"], train), schedule=schedule,
        accelerator=accelerator, trains_base=updates_base, autocast=numerics.autocast,
        checkpoints=checkpoints, reporter=reporter, stop=stop,
    )  # fmt: skip
    replay, note = _replay(config, adapters, entry, task, shelf, updates_base=updates_base)
    return Prepared(
        training=training, adapters=adapters, name=name, base=base, task=task, replay=replay,
        numerics=numerics, max_length=max_length, encoded=encoded, notes=notes, replay_note=note,
    )  # fmt: skip


def _task(config: TrainConfig, dataset: Dataset, base: Base) -> AbstractTask:
    """Build the task for a data set and a base; refuses a base of the wrong form."""
    kind = base_kind(base)
    task = task_for(config.task, dataset, base_kind=kind, options=config.task_options)
    task.check_measurable(dataset.splits["test"], dataset.name)
    if task.needs == "encoder" and kind == "encoder-decoder":
        raise BaseError(
            f"{base.id!r} is {kind}, which task {task.name!r} cannot use: it reads one sequence of "
            "hidden states. Name an encoder or a decoder with --base."
        )
    return task


def _free_name(adapters: Adapters, name: str) -> str:
    """Return a name that no adapter has yet, as several trainings share a base."""
    numbers = itertools.count(2)
    found = name
    while found in adapters.names:
        found = f"{name}-{next(numbers)}"
    return found


def _replay(
    config: TrainConfig,
    adapters: Adapters,
    entry: Entry,
    task: AbstractTask,
    shelf: Shelf,
    *,
    updates_base: bool,
) -> tuple[TrunkReplay | None, str]:
    """Prepare the replay of what stays as it is, and say what was decided.

    Raises:
        ConfigError: If replay was asked for and cannot be.
    """
    if config.replay is False:
        return None, "replay: switched off"
    if updates_base:
        reason = "weights of the base are trained, so nothing stays as it was"
    elif not task.repeats_rows:
        reason = f"task {task.name} alters its rows in every epoch"
    else:
        try:
            replay = shelf.replay(adapters, entry, gigabytes=config.replay_gb, seed=config.seed)
        except SiteError as error:
            reason = str(error)
        else:
            return replay, f"replay: {replay.summary()}"
    if config.replay:
        raise ConfigError(f"replay=True: {reason}. Leave it out, or give --layers upper.")
    return None, f"replay: no, {reason}"


def _accelerator(config: TrainConfig) -> Accelerator:
    """Say where to train; refuses several processes where each would draw a number of its own."""
    accelerator = Accelerator()
    if config.drop_lowest and accelerator.num_processes > 1:
        raise ConfigError(
            f"drop_lowest={config.drop_lowest}: each of {accelerator.num_processes} processes "
            "would draw its own number of blocks; train in one process, or leave it out."
        )
    return accelerator


def _row_namer(rows: Sequence[Example], encoded: Sequence[Encoded]) -> Callable[[int], str]:
    """Return what names the file and line that an encoded row is from."""

    def name(number: int) -> str:
        row = rows[encoded[number].row]
        return f"{row.file}:{row.line}"

    return name


def _add(
    adapters: Adapters,
    config: TrainConfig,
    preset: Preset,
    name: str,
    head: nn.Module | None,
    below: str | None,
) -> Entry:
    """Place a fresh adapter and make it the only thing that is trained."""
    entry = adapters.add(
        name, preset.method, at=config.at, layers=config.layers or "all",
        submodel=config.submodel, head=head, stack_on=below,
    )  # fmt: skip
    adapters.train(name, drop_lowest=config.drop_lowest)
    return entry


def _optimizer(
    config: TrainConfig, entry: Entry, counts: Sequence[int]
) -> tuple[Optimizer, LambdaLR]:
    optimizer = build_optimizer(
        config.optimizer, [p for p in entry.parameters() if p.requires_grad],
        learning_rate=config.learning_rate or 1e-3, weight_decay=config.weight_decay,
    )  # fmt: skip
    schedule = build_schedule(
        optimizer, config.schedule, warmup=config.warmup, num_steps=count_steps(config, counts)
    )
    return optimizer, schedule


def estimate_seconds(prepared: Prepared) -> float:
    """Measure one step on rows of usual length and multiply; nothing is changed by it."""
    training, replay = prepared.training, prepared.replay
    device = training.accelerator.device
    state = random_state(device)
    training.model.train(training.trains_base)
    if replay is not None:
        replay.is_paused = True
    first = later = _step_seconds(training)
    if replay is not None:
        replay.is_paused = False
        later = _step_seconds(training)
        first = later if replay.num_reused else first
        # Rounding depends on the batch: what training computes first is what it keeps.
        replay.forget()
    training.optimizer.zero_grad()
    restore_random_state(state, device)
    config, steps = training.config, steps_of(training)
    # Evaluation is a forward pass over validation: a third of a step's cost for each batch.
    evaluations = config.epochs
    if config.eval_every is not None:
        evaluations += steps // config.eval_every
    batches = len(training.validation) / config.batch_size / 3
    in_first = steps * config.gradient_accumulation / config.epochs + batches
    all_epochs = steps * config.gradient_accumulation + batches * evaluations
    return first * in_first + later * (all_epochs - in_first)


def _step_seconds(training: Training) -> float:
    """Run a batch of usual length forwards and backwards a few times; return the least time."""
    by_length = sorted(range(len(training.train)), key=lambda i: training.train[i].length)
    middle, half = len(by_length) // 2, training.config.batch_size // 2
    rows = by_length[max(0, middle - half) : middle + half + 1][: training.config.batch_size]
    times: list[float] = []
    micro_batch = training.config.batch_size
    while len(times) < 3:
        started = time.monotonic()
        try:
            forward_backward(training, rows, micro_batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            micro_batch = half_of(micro_batch, training.train[rows[-1]].length)
            continue
        times.append(time.monotonic() - started)
    return min(times)


def _max_length(config: TrainConfig, tokenizer: Any, model: Any) -> int:
    """Return the tokens that are read: what was asked, within what the base can take."""
    limits = [tokenizer.model_max_length]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None:
        limits.append(positions)
    limit = int(min(limits))
    return min(config.max_length or _LONGEST, limit)


def _packing_notes(encoded: Sequence[Encoded], train: Sequence[Encoded]) -> list[str]:
    if len(train) == len(encoded):
        return []
    return [f"train: {len(encoded)} rows packed into {len(train)}"]
