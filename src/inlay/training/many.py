"""Many trainings in one process: one copy of the base, one pass over its trunk, each on its own.

The trainings take turns, an epoch or more at a time. Each has its own optimiser, schedule, random
numbers, early stopping and checkpoints, so it comes out as if it had been alone.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from inlay.errors import ConfigError, InlayError
from inlay.training.checkpoint import random_state, restore_random_state
from inlay.training.config import resolve_config
from inlay.training.finish import finish
from inlay.training.interrupt import Interrupted, StopRequest, stop_on_signals
from inlay.training.loop import Fitting, Progress, steps_of
from inlay.training.opened import Opened, opened
from inlay.training.reporter import Evaluation, Plan, PretrainPlan, Reporter, SilentReporter
from inlay.training.run_folder import RunFolder
from inlay.training.shelf import Shelf
from inlay.training.train import Run

State = Literal["finished", "stopped", "failed"]


@final
@dataclass(kw_only=True, slots=True)
class Trained:
    """One of many trainings, when all are over."""

    number: int
    """Its place among those that were asked for, from 0."""
    settings: dict[str, Any]
    """What was asked for."""
    state: State = "finished"
    """`stopped`: others did better and it was left off; `failed`: see `error`."""
    score: float | None = None
    """The best value on validation of the metric by which states are chosen."""
    metric: str = ""
    epochs: int = 0
    """Epochs that were trained."""
    seconds: float = 0.0
    folder: Path | None = None
    error: InlayError | None = None
    _run: list[Run] = field(default_factory=list, repr=False)

    @property
    def run(self) -> Run:
        """The finished run.

        Raises:
            InlayError: What went wrong, if it failed.
            ConfigError: If it was stopped.
        """
        if self.error is not None:
            raise self.error
        if self.state != "finished" or self.folder is None:
            raise ConfigError(
                f"training {self.number} was stopped after {self.epochs} epochs, as others did "
                f"better; go on with it: inlay resume {self.folder}"
            )
        if not self._run:
            self._run.append(Run(self.folder))
        return self._run[0]


def train_many(
    settings: Sequence[Mapping[str, Any]],
    *,
    reporter: Reporter | None = None,
    halving: int | None = None,
    choose: Callable[[Sequence[Trained]], Collection[int]] | None = None,
    force: bool = False,
) -> list[Trained]:
    """Train many adapters in one process over one copy of each base.

    Rows that several read are encoded once, and what frozen blocks make of them is computed once
    (see `replay`). A training whose loss is not a number fails alone. The same call again goes
    on with runs that were interrupted, if they have their own `out`.

    Args:
        settings: For each training what `inlay.train` takes.
        reporter: Is told what happens, steps and time of all together.
        halving: Successive halving (Jamieson and Talwalkar 2016): all train for a few epochs, one
            in so many goes on for as many times longer, and so forth; 2 keeps half.
        choose: Gives the numbers of those that are measured on test and checked, among those that
            trained to the end; all if not given.
        force: Replace runs that are in the folders already.

    Returns:
        One for each of `settings`, in their order.

    Raises:
        ConfigError: If a setting is not known or not allowed; nothing has been trained then.
        DataError: If data cannot be used.
        Interrupted: If a signal asked to stop; checkpoints were written.
    """
    if not settings:
        raise ConfigError("train_many: no settings were given; there is nothing to train.")
    if halving is not None and halving < 2:
        raise ConfigError(f"halving={halving!r}: one in at least 2 goes on; leave it out for all.")
    shared = _Together(reporter or SilentReporter(), len(settings))
    shelf = Shelf()
    with stop_on_signals() as stop, ExitStack() as stack:
        trials = []
        for number, given in enumerate(settings):
            trials.append(_open(number, given, shared, stack, stop, shelf, force=force))
        _run_all([trial for trial in trials if trial.opened is not None], halving, shared)
        at_end = [trial.result for trial in trials if trial.is_at_end]
        chosen = [t.number for t in at_end] if choose is None else choose(at_end)
        for trial in trials:
            trial.close(measured=trial.result.number in chosen)
    return [trial.result for trial in trials]


@final
@dataclass(kw_only=True, slots=True)
class _Trial:
    """A training that takes turns with others."""

    result: Trained
    opened: Opened | None
    fitting: Fitting | None = None
    epochs: Iterator[Progress] | None = None
    random: dict[str, list[int]] = field(default_factory=dict)
    is_at_end: bool = False

    def advance(self, to_epoch: int) -> None:
        """Train up to the end of an epoch; what goes wrong is noted and ends only this one."""
        run, fitting = self.opened, self.fitting
        if run is None or fitting is None or self.epochs is None:
            return
        training = run.prepared.training
        device = training.accelerator.device
        restore_random_state(self.random, device)
        run.prepared.adapters.train(run.prepared.name)
        try:
            with run.prepared.replaying():
                while not fitting.progress.is_over() and fitting.progress.epoch < to_epoch:
                    next(self.epochs, None)
        except Interrupted:
            raise
        except InlayError as error:
            self.result.state, self.result.error = "failed", error
            training.reporter.on_note(f"failed: {error}")
        self.random = random_state(device)
        progress = fitting.progress
        self.is_at_end = self.result.error is None and progress.is_over()
        self.result.epochs, self.result.seconds = progress.epoch, round(progress.seconds, 2)
        if math.isfinite(progress.best_score):
            self.result.score = progress.best_score

    def close(self, *, measured: bool) -> None:
        """Measure and save it, or leave it with its checkpoint."""
        run, fitting = self.opened, self.fitting
        if run is None or fitting is None or self.result.state == "failed":
            return
        if not self.is_at_end or not measured:
            self.result.state = "stopped"
            return
        fitting.restore_best()
        run.prepared.adapters.train(run.prepared.name)
        try:
            with run.prepared.replaying():
                finish(run.prepared, run.dataset, run.folder, fitting.progress)
        except InlayError as error:
            self.result.state, self.result.error = "failed", error


def _open(
    number: int,
    given: Mapping[str, Any],
    shared: "_Together",
    stack: ExitStack,
    stop: StopRequest,
    shelf: Shelf,
    *,
    force: bool,
) -> _Trial:
    """Open one training; one that has finished before is taken as it is."""
    settings = {key: str(v) if isinstance(v, Path) else v for key, v in given.items()}
    resolved = resolve_config(settings, given_as="argument")
    result = Trained(number=number, settings=dict(given))
    out = resolved.config.out
    if out is not None and not force and RunFolder(Path(out)).is_finished:
        done = Run(out)
        result.folder, result.epochs = Path(out), done.metrics["epochs_run"]
        result.seconds = done.metrics["train_seconds"]
        result.score = done.metrics.get("best_score")
        return _Trial(result=result, opened=None, is_at_end=True)
    reporter = shared.reporter_of(number)
    run = stack.enter_context(
        opened(resolved, reporter, force=force, folder=None, stop=stop, shelf=shelf)
    )
    result.folder, result.metric = run.folder.path, run.prepared.task.better
    run.say_where_it_starts()
    fitting = Fitting(run.prepared.training, run.snapshot)
    shared.num_steps[number] = steps_of(run.prepared.training)
    state = random_state(run.prepared.training.accelerator.device)
    return _Trial(
        result=result, opened=run, fitting=fitting, epochs=fitting.epochs(), random=state,
        is_at_end=fitting.progress.is_over(),
    )  # fmt: skip


def _run_all(trials: Sequence[_Trial], halving: int | None, shared: "_Together") -> None:
    """Let the trainings take turns, and leave off the worse ones after each rung."""
    longest = max((t.fitting.training.config.epochs for t in trials if t.fitting), default=0)
    alive = list(trials)
    for epoch in rungs(longest, len(trials), halving):
        for trial in alive:
            trial.advance(epoch)
        alive = [trial for trial in alive if trial.result.state != "failed"]
        if halving is not None and epoch < longest:
            alive.sort(key=lambda trial: -(trial.result.score or -math.inf))
            number = math.ceil(len(alive) / halving)
            for trial in alive[number:]:
                shared.leave_off(trial.result.number)
            alive = alive[:number]


def rungs(epochs: int, number: int, halving: int | None) -> list[int]:
    """Return the epochs after which trainings are compared, the last one being the end.

    Args:
        epochs: Of a whole training.
        number: Of trainings.
        halving: One in so many goes on; `None` lets all go to the end, an epoch at a time.
    """
    if halving is None:
        return list(range(1, epochs + 1))
    found = [epochs]
    while number > 1 and found[0] > 1:
        found.insert(0, max(1, found[0] // halving))
        number = math.ceil(number / halving)
    return found


@final
class _Together:
    """Tells one reporter of many trainings: their steps added up, their evaluations as notes."""

    def __init__(self, reporter: Reporter, number: int) -> None:
        self.reporter = reporter
        self.steps, self.num_steps = [0] * number, [0] * number

    def leave_off(self, number: int) -> None:
        """Expect no more steps of a training."""
        self.num_steps[number] = self.steps[number]

    def reporter_of(self, number: int) -> Reporter:
        """Return what one training reports to."""
        return _Part(self, number)


@final
class _Part:
    """Reports for one of many trainings."""

    def __init__(self, together: _Together, number: int) -> None:
        self._together, self._number = together, number

    def on_note(self, text: str) -> None:
        """Pass a note on with the training's number."""
        self._together.reporter.on_note(f"[{self._number}] {text}")

    def on_plan(self, plan: Plan | PretrainPlan) -> None:
        """Leave the plan out; there is one for each."""

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        """Count the steps of all."""
        own = self._together
        own.steps[self._number] = step
        own.reporter.on_step(sum(own.steps), sum(own.num_steps), loss)

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Say how well it does."""
        values = ", ".join(f"{name} {value:.4g}" for name, value in evaluation.metrics.items())
        self.on_note(f"epoch {evaluation.epoch:g}: {values}")

    def on_end(self, metrics: dict[str, Any]) -> None:
        """Leave it to the caller, who gets the run."""
