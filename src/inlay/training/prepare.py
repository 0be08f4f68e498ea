"""Build what a training needs: rows as token ids, the base with its adapter, the optimiser."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
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
from inlay.methods.base import AbstractWeightMethod
from inlay.methods.presets import Preset
from inlay.store.bases import Base, base_kind, resolve_base
from inlay.tasks.base import AbstractTask, Encoded
from inlay.tasks.registry import task_for
from inlay.training.attention import Attention, choose_attention
from inlay.training.batches import count_steps, mixture, usual_rows
from inlay.training.checkpoint import Checkpoints
from inlay.training.config import TrainConfig
from inlay.training.defaults import trains_base
from inlay.training.interrupt import StopRequest
from inlay.training.lengths import length_notes, max_length_of, packing_notes
from inlay.training.optim import build_optimizer, build_schedule
from inlay.training.precision import Numerics, choose_numerics
from inlay.training.replay import TrunkReplay
from inlay.training.reporter import Reporter
from inlay.training.shelf import Loaded, Shelf
from inlay.training.stacking import load_below
from inlay.training.state import Training


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
    replay_choice: str
    attention: Attention

    def replaying(self) -> AbstractContextManager[None]:
        """Replay the trunk for the length of a `with` block, if that was prepared."""
        if self.replay is None:
            return nullcontext()
        # So that a run that is killed goes on from the very states it has learnt from.
        self.training.on_checkpoint = self.replay.publish
        return self.replay.active()

    @property
    def replay_state(self) -> str:
        """What is replayed, as far as is known by now."""
        if self.replay is None or self.replay.refused is None:
            return self.replay_choice
        return f"replay: no, {self.replay.refused}"

    def replay_note(self) -> str:
        """Say what is replayed, as far as is known by now.

        Raises:
            ConfigError: If replay was asked for, and a first pass has shown that it cannot be.
        """
        if self.replay is not None and self.replay.refused is not None:
            if self.training.config.replay:
                refused = self.replay.refused.rstrip(".")
                raise ConfigError(f"replay=True: {refused}. Leave it out.")
            self.replay.news = ""  # whoever asks tells it
        return self.replay_state

    def tell_of_replay(self) -> None:
        """Let the reporter know, from now on, if replay comes to an end."""
        if self.replay is not None:
            self.replay.tell(self.training.reporter.on_note)

    def computing(self) -> AbstractContextManager[None]:
        """Compute the trunk as always for the length of a `with` block within `replaying`."""
        return nullcontext() if self.replay is None else self.replay.paused()


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
    attention: str | None = None,
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
        attention: The implementation that this run began with, if it goes on.

    Raises:
        BaseError: If the base cannot be loaded, or has no tokenizer.
        SiteError: If the placement matches nothing.
        ConfigError: If a setting cannot be used.
    """
    accelerator, shelf = _accelerator(config), shelf or Shelf()
    device, updates_base = accelerator.device, trains_base(preset)
    base, numerics = resolve_base(config.base), _numerics(config, preset, device)
    task = _task(config, dataset, base)
    held = _loaded(config, dataset, task, base, numerics, shelf, device, attention=attention)
    adapters, tokenizer = held.adapters, held.tokenizer
    # Before the seed is set, as it draws weights only where no other training has loaded it.
    below = load_below(config, adapters, base)
    torch.manual_seed(config.seed)
    head = task.build_head(output_width(adapters.sites))
    name = _free_name(adapters, dataset.name)
    entry = _add(adapters, config, preset, name, head, below)
    adapters.to(device)
    max_length, encoded, train, notes = _rows(config, dataset, task, held, shelf)
    notes += _dropout_notes(config, preset, adapters.model)
    optimizer, schedule = _optimizer(config, entry, mixture(task, train)[1])
    training = Training(
        config=config, task=task, model=adapters.model, entry=entry, head=head, tokenizer=tokenizer,
        train=train, validation=encoded["validation"], run=run, optimizer=optimizer,
        row_name=_row_namer(dataset.splits["train"], train), schedule=schedule,
        accelerator=accelerator, trains_base=updates_base, autocast=numerics.autocast,
        trunk_dropout=config.trunk_dropout, checkpoints=checkpoints, reporter=reporter, stop=stop,
        micro_batch=config.batch_size,
    )  # fmt: skip
    replay, note = _replay(config, adapters, entry, task, shelf, updates_base=updates_base)
    return Prepared(
        training=training, adapters=adapters, name=name, base=base, task=task, replay=replay,
        max_length=max_length, encoded=encoded, notes=notes, replay_choice=note,
        attention=held.attention, numerics=replace(numerics, attention=held.attention.name),
    )  # fmt: skip


def _numerics(config: TrainConfig, preset: Preset, device: torch.device) -> Numerics:
    found = choose_numerics(config.precision, trains_base=trains_base(preset), device=device)
    if config.trunk == "auto":
        return found
    method = preset.method
    if isinstance(method, AbstractWeightMethod) and method.first_block(1) != 1:
        raise ConfigError(
            f"trunk='int8': method {config.method!r} trains weights of the base, which cannot be "
            "done in 8 bits; take an adapter such as bottleneck or lora."
        )
    return replace(found, int8=True)


def _rows(
    config: TrainConfig, dataset: Dataset, task: AbstractTask, held: Loaded, shelf: Shelf
) -> tuple[int, dict[str, list[Encoded]], Sequence[Encoded], list[str]]:
    """Return the tokens that are read, the rows of each split, those to train on, and notes."""
    model, tokenizer = held.adapters.model, held.tokenizer
    in_front = held.adapters.positions_in_front
    max_length = max_length_of(config, tokenizer, model, in_front)
    encoded = shelf.encoded(dataset, task, tokenizer, max_length)
    train = task.training_rows(
        encoded["train"], model=model, tokenizer=tokenizer, max_length=max_length
    )
    notes = length_notes(config, max_length, in_front) + task.tokenizer_notes(tokenizer)
    notes += truncation_notes(dataset.splits, encoded, task, tokenizer, max_length=max_length)
    return max_length, encoded, train, notes + packing_notes(encoded["train"], train)


def _loaded(
    config: TrainConfig,
    dataset: Dataset,
    task: AbstractTask,
    base: Base,
    numerics: Numerics,
    shelf: Shelf,
    device: torch.device,
    *,
    attention: str | None,
) -> Loaded:
    """Load the base, with the attention that is asked for or is fastest on the first rows."""
    if attention is not None:
        asked = Attention(attention, "as this run began")
    elif config.attention is not None:
        asked = Attention(config.attention, "as asked")
    else:
        asked = None

    def choose(adapters: Adapters, tokenizer: Any) -> Attention:
        examples = dataset.splits["train"][: 8 * config.batch_size]
        length = max_length_of(config, tokenizer, adapters.model)
        rows = task.encode(examples, tokenizer, max_length=length)
        lengths = [row.length for row in rows]
        usual = [rows[i] for i in usual_rows(lengths, config.batch_size)]
        usual = [row for row in usual if task.kind_of(row) == task.kind_of(usual[0])]
        batch = task.collate(usual, tokenizer).to(device)
        shape = len(usual), max(row.length for row in usual)
        # The adapter's own head is made after the seed is set; any will do to run the base.
        head = task.build_head(output_width(adapters.sites))
        head = None if head is None else head.to(device)
        return choose_attention(
            adapters.model, adapters.sites, lambda: task.scores(adapters.model, head, batch),
            usual=numerics.attention, shape=shape, autocast=numerics.autocast,
        )  # fmt: skip

    return shelf.base(base, numerics, task.needs, device, attention=asked, choose=choose)


def _dropout_notes(config: TrainConfig, preset: Preset, model: nn.Module) -> list[str]:
    """Say so if a base has no dropout that could be turned on.

    Raises:
        ConfigError: If the base is trained, so that its dropout is on anyway.
    """
    if not config.trunk_dropout:
        return []
    if trains_base(preset):
        raise ConfigError(
            f"trunk_dropout=True: method {config.method!r} trains the base, whose dropout is on "
            "already; leave it out."
        )
    drops = (
        module.p
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and not name.startswith("adapters.")
    )
    if any(drops):
        return []
    return ["trunk dropout: asked for, but this base has no dropout of its own"]


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
    elif config.trunk_dropout:
        reason = "the trunk's dropout is on, so its states differ at every pass"
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
        raise ConfigError(f"replay=True: {reason}. {_way_out(config)}")
    return None, f"replay: no, {reason}"


def _way_out(config: TrainConfig) -> str:
    if config.trunk_dropout:
        return "Leave one of the two out."
    return "Leave it out, or give --layers upper."


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
