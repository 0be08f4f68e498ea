"""`pretrain`: from plain text to a base that `transformers` loads."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from accelerate import Accelerator

from inlay.errors import ConfigError, DataError
from inlay.pretraining.config import PretrainConfig
from inlay.pretraining.corpus import Corpus, read_corpus
from inlay.pretraining.folder import (
    Pretrained,
    keep_tokenizer,
    kept_tokenizer,
    take_folder,
    write_model,
)
from inlay.pretraining.loop import Job, Progress, fit
from inlay.pretraining.model import build_model, load_model
from inlay.pretraining.objectives import OBJECTIVES, Vocabulary
from inlay.pretraining.perplexity import baselines, held_out_indices
from inlay.pretraining.sizes import Shape, shape_of
from inlay.pretraining.stream import Stream, encode
from inlay.pretraining.tokenizer import SPECIALS, train_tokenizer
from inlay.training.checkpoint import Checkpoints
from inlay.training.interrupt import StopRequest, stop_on_signals
from inlay.training.optim import build_optimizer, build_schedule
from inlay.training.precision import Numerics, choose_numerics
from inlay.training.reporter import PretrainPlan, Reporter, SilentReporter
from inlay.training.run_folder import (
    CHECKPOINT_FOLDER,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    RunFolder,
    environment,
    versions,
)
from inlay.training.run_log import RunLog, rewind_log

_BASE_LEARNING_RATE = 1e-4
_BASE_STEPS = 1000
_LONGEST = 256
"""Tokens of a sequence for a base that takes more."""


def pretrain(
    corpus: str | Path | Sequence[str | Path],
    *,
    objective: str = "mlm",
    size: str | Path = "tiny",
    out: str | Path,
    base: str | Path | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int = 16,
    learning_rate: float | None = None,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    seed: int = 1,
    tokenizer: str = "bpe",
    vocab_size: int | None = None,
    max_length: int | None = None,
    documents: str = "paragraph",
    text_columns: Sequence[str] = (),
    precision: str = "auto",
    eval_every: int | None = None,
    checkpoint_seconds: float = 30.0,
    force: bool = False,
    reporter: Reporter | None = None,
) -> Pretrained:
    """Train a base on plain text, from nothing or from another base, and measure its perplexity.

    The same call again goes on with one that was interrupted. For what the arguments mean, see
    `PretrainConfig`; `force` replaces a pretraining that is in `out` already, and `reporter` is
    told what happens.

    Raises:
        ConfigError: If a setting cannot be used, or the base does not fit the objective.
        DataError: If the text cannot be read or is shorter than one sequence.
        RunError: If the folder holds something else.
        Interrupted: If a signal asked to stop; a checkpoint was written.
        TrainingError: If the loss is not a number.
    """
    sources = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    config = PretrainConfig(
        corpus=tuple(map(str, sources)), objective=objective, size=str(size), out=str(out),
        base=None if base is None else str(base), steps=steps, epochs=epochs,
        batch_size=batch_size, learning_rate=learning_rate, warmup=warmup,
        weight_decay=weight_decay, seed=seed, tokenizer=tokenizer,
        vocab_size=vocab_size, max_length=max_length, documents=documents,
        text_columns=tuple(text_columns), precision=precision, eval_every=eval_every,
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    return _run(config, reporter or SilentReporter(), force=force)


@final
class _Start:
    """What a pretraining begins with.

    Args:
        model: To be trained.
        tokenizer: Its tokenizer.
        shape: What it was built from; `None` for a base.
        max_length: Tokens of a sequence.
        notes: What was decided.
    """

    def __init__(
        self, model: Any, tokenizer: Any, shape: Shape | None, max_length: int, notes: list[str]
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.shape = shape
        self.max_length = max_length
        self.notes = notes


def _run(config: PretrainConfig, reporter: Reporter, *, force: bool) -> Pretrained:
    config.check()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("pretraining runs in one process; start it without a launcher.")
    if config.base is None:
        shape_of(config.size, config.objective)  # a mistake in it is told before text is read
    corpus = read_corpus(
        config.corpus, documents=config.documents, text_columns=config.text_columns
    )
    folder, goes_on, claim = take_folder(config, corpus, force=force)
    try:
        log = RunLog(reporter, folder)
        checkpoints = Checkpoints(
            folder.path / CHECKPOINT_FOLDER, go_on="run the same command again"
        )
        with stop_on_signals() as stop:
            snapshot, damages = checkpoints.newest() if goes_on else (None, [])
            done = Progress() if snapshot is None else Progress(**snapshot.state["progress"])
            rewind_log(folder, step=done.step, num_evaluations=done.num_evaluations)
            job, plan, free = _prepare(config, corpus, folder, checkpoints, log, stop)
            folder.write_json(ENVIRONMENT_FILE, environment(str(job.model.device)))
            log.on_plan(plan)
            for note in damages:
                log.on_note(note)
            if snapshot is not None:
                log.on_note(f"going on at step {done.step}")
            progress = fit(job, snapshot)
        _finish(job, folder, plan, progress, free)
        log.on_end(folder.read_json(METRICS_FILE))
    finally:
        claim.release()
    return Pretrained(folder.path)


def _prepare(
    config: PretrainConfig,
    corpus: Corpus,
    folder: RunFolder,
    checkpoints: Checkpoints,
    reporter: Reporter,
    stop: StopRequest,
) -> tuple[Job, PretrainPlan, dict[str, float]]:
    """Build tokenizer, model, sequences and optimiser; also return the free perplexities."""
    device = Accelerator().device
    numerics = choose_numerics(config.precision, trains_base=True, device=device)
    torch.manual_seed(config.seed)
    start = _start(config, corpus, folder, numerics)
    start.model.to(device)
    objective = OBJECTIVES[config.objective](Vocabulary(start.tokenizer))
    window = objective.window(start.max_length)
    tokens = {
        "train": encode(corpus.train, start.tokenizer, objective),
        "held_out": encode(corpus.held_out, start.tokenizer, objective),
    }
    train = Stream(tokens["train"], window, keeps_rest=False)
    held_out = Stream(tokens["held_out"], window, keeps_rest=True)
    for what, stream, least in (("training", train, window.size), ("held-out", held_out, 2)):
        if not len(stream):
            raise DataError(
                f"{corpus.name}: the {what} text has {len(stream.tokens)} tokens, fewer than the "
                f"{least} of one sequence. Give more text, or a smaller max_length."
            )
    num_steps = _num_steps(config, start.shape, math.ceil(len(train) / config.batch_size))
    learning_rate = config.learning_rate or (
        start.shape.learning_rate if start.shape else _BASE_LEARNING_RATE
    )
    optimizer = build_optimizer(
        "adamw", start.model.parameters(), learning_rate=learning_rate,
        weight_decay=config.weight_decay,
    )  # fmt: skip
    schedule = build_schedule(optimizer, "cosine", warmup=config.warmup, num_steps=num_steps)
    job = Job(
        config=config, model=start.model, tokenizer=start.tokenizer, objective=objective,
        train=train, held_out=held_out, optimizer=optimizer, schedule=schedule,
        num_steps=num_steps, autocast=numerics.autocast, checkpoints=checkpoints,
        reporter=reporter, stop=stop,
    )  # fmt: skip
    plan = _plan(job, start, corpus, folder, numerics, learning_rate)
    return job, plan, baselines(objective, tokens["train"], held_out)


def _start(config: PretrainConfig, corpus: Corpus, folder: RunFolder, numerics: Numerics) -> _Start:
    """Load the base, or train a tokenizer and build a model for it."""
    objective = OBJECTIVES[config.objective]
    if config.base is not None:
        model, tokenizer, notes = load_model(config.base, objective, numerics)
        longest = _longest(model, tokenizer)
        return _Start(model, tokenizer, None, _max_length(config, _LONGEST, longest), notes)
    shape = shape_of(config.size, config.objective)
    positions = shape.settings.get("max_position_embeddings")
    max_length = _max_length(config, shape.max_length, positions or 10**6)
    wanted = config.vocab_size or shape.vocab_size
    tokenizer = kept_tokenizer(folder)
    if tokenizer is None:
        trained = train_tokenizer(
            corpus.train, kind=config.tokenizer, specials=SPECIALS[config.objective],
            vocab_size=wanted, max_length=max_length,
        )  # fmt: skip
        keep_tokenizer(folder, trained)
        tokenizer = kept_tokenizer(folder)
    notes = []
    if len(tokenizer) < wanted:
        notes.append(
            f"the tokenizer has {len(tokenizer)} tokens: the text does not suffice for {wanted}"
        )
    model = build_model(shape, objective(Vocabulary(tokenizer)), tokenizer, numerics)
    return _Start(model, tokenizer, shape, max_length, notes)


def _longest(model: Any, tokenizer: Any) -> int:
    positions = getattr(model.config, "max_position_embeddings", None)
    return min(int(tokenizer.model_max_length), int(positions or 10**6))


def _max_length(config: PretrainConfig, default: int, longest: int) -> int:
    """Return the tokens of a sequence.

    Raises:
        ConfigError: If more are asked for than the model takes.
    """
    if config.max_length is not None and config.max_length > longest:
        raise ConfigError(
            f"max_length={config.max_length}: the model takes {longest} tokens at most."
        )
    return config.max_length or min(default, longest)


def _num_steps(config: PretrainConfig, shape: Shape | None, steps_per_epoch: int) -> int:
    if config.epochs is not None:
        return config.epochs * steps_per_epoch
    return config.steps or (shape.steps if shape else _BASE_STEPS)


def _plan(
    job: Job,
    start: _Start,
    corpus: Corpus,
    folder: RunFolder,
    numerics: Numerics,
    learning_rate: float,
) -> PretrainPlan:
    config = job.config
    notes = [*corpus.notes, *start.notes]
    measured = len(held_out_indices(job.held_out))
    if measured < len(job.held_out):
        notes.append(f"{measured} of {len(job.held_out)} held-out sequences are measured")
    settings = (
        f"batch {config.batch_size} of {start.max_length} tokens, "
        f"{job.num_steps / job.steps_per_epoch:.1f} epochs, learning rate {learning_rate:g}, seed "
        f"{config.seed}, {numerics.precision}"
    )
    name = config.base or f"{config.size} {start.model.config.model_type}, from nothing"
    return PretrainPlan(
        folder=str(folder.path), objective=config.objective, model=name,
        num_parameters=sum(p.numel() for p in start.model.parameters()),
        vocab_size=len(start.tokenizer),
        tokens={"train": len(job.train.tokens), "held_out": len(job.held_out.tokens)},
        num_steps=job.num_steps, settings=settings, notes=notes,
    )  # fmt: skip


def _finish(
    job: Job, folder: RunFolder, plan: PretrainPlan, progress: Progress, free: dict[str, float]
) -> None:
    """Write the model, then the metrics, which mark the pretraining as finished."""
    write_model(folder, job.model, job.tokenizer)
    metrics = {
        "objective": job.config.objective,
        "model_type": job.model.config.model_type,
        "base": job.config.base,
        "folder": str(folder.path),
        "parameters": plan.num_parameters,
        "vocab_size": plan.vocab_size,
        "held_out": {
            "perplexity": progress.after["perplexity"],
            "perplexity_before": progress.before["perplexity"],
            "loss": progress.after["loss"],
            "tokens": plan.tokens["held_out"],
            "sequences": len(held_out_indices(job.held_out)),
        },
        "baselines": {name: {"perplexity": value} for name, value in free.items()},
        "train_tokens": plan.tokens["train"],
        "tokens_seen": progress.tokens,
        "steps": progress.step,
        "epochs": progress.step / job.steps_per_epoch,
        "train_seconds": progress.seconds,
        "seed": job.config.seed,
        "notes": plan.notes,
        "versions": versions(),
    }
    folder.write_json(METRICS_FILE, metrics)
    job.checkpoints.clear()
