"""One of many trainings: opened when it is its turn, closed to make room, opened again."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from inlay.errors import ConfigError, InlayError
from inlay.training.checkpoint import random_state, restore_random_state
from inlay.training.config import resolve_config
from inlay.training.estimate import fit_to_memory
from inlay.training.finish import finish, report_on_validation
from inlay.training.interrupt import Interrupted, StopRequest
from inlay.training.loop import Fitting
from inlay.training.opened import Opened, opened
from inlay.training.optim import warmup_steps
from inlay.training.reporter import Reporter
from inlay.training.run_folder import RunFolder
from inlay.training.shelf import Shelf
from inlay.training.state import Progress
from inlay.training.train import Run

_LEAST_STEPS = 10
"""Steps before which scores say too little of a training."""

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
    loss: float = math.inf
    """The loss on validation there."""
    metric: str = ""
    report: dict[str, Any] | None = None
    """The whole report on validation at the best state, where it was asked for."""
    epochs: float = 0
    """Epochs that were trained; the last may be a part of one."""
    rung: int = 0
    """Up to which point it went on with others, of those at which they are compared."""
    seconds: float = 0.0
    num_adapter_parameters: int = 0
    folder: Path | None = None
    error: InlayError | None = None
    _run: list[Run] = field(default_factory=list, repr=False)

    @property
    def rank(self) -> tuple[float, float]:
        """What is better is greater; of equal scores the lower loss, as in training."""
        return (-math.inf if self.score is None else self.score, -self.loss)

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
                f"training {self.number} was stopped after {self.epochs:g} epochs, as others did "
                f"better; go on with it: inlay resume {self.folder}"
            )
        if not self._run:
            self._run.append(Run(self.folder))
        return self._run[0]


@final
@dataclass(kw_only=True, slots=True)
class Trial:
    """A training that takes turns with others.

    Between its turns it may be closed: what it has learnt is in its checkpoint, and its adapter
    and optimiser take no memory.
    """

    result: Trained
    reporter: Reporter
    stop: StopRequest
    shelf: Shelf
    force: bool
    on_opened: Callable[[int, int, int, Sequence[str]], None]
    """Told, when the training is opened, its number, at which step of how many it is, and notes."""
    opened: Opened | None = None
    fitting: Fitting | None = None
    random: dict[str, list[int]] = field(default_factory=dict)
    num_epochs: int = 0
    """Epochs that it would train if it was not stopped."""
    num_steps: int = 0
    """Steps of all these."""
    least_epochs: float = 0.0
    """Epochs before which it cannot be compared with others."""
    micro_batch: int | None = None
    """Rows that go through the model at once, when that is known."""
    depth_replayed: tuple[int, int] = (0, 0)
    """Blocks of the base, and modules in all, that it passes over once their states are there."""
    is_at_end: bool = False
    _stack: ExitStack = field(default_factory=ExitStack)

    def open(self) -> None:
        """Make it ready to train, from its checkpoint if it has one.

        A run that has finished before is taken as it is.

        Raises:
            InlayError: If the settings, the data or the base cannot be used.
        """
        result = self.result
        if self.opened is not None or result.state == "failed":
            return
        resolved = resolve_config(_plain(result.settings), given_as="argument")
        out = resolved.config.out
        if out is not None and not self.force and RunFolder(Path(out)).is_finished:
            self._take(Run(out))
            return
        folder = None if result.folder is None else RunFolder(result.folder)
        run = self._stack.enter_context(
            opened(
                resolved if folder is None else folder.read_config(), self.reporter,
                force=self.force and folder is None, folder=folder, stop=self.stop,
                shelf=self.shelf,
            )
        )  # fmt: skip
        if folder is None:
            run.say_where_it_starts()
        training = run.prepared.training
        result.folder, result.metric = run.folder.path, run.prepared.task.better
        result.num_adapter_parameters = training.entry.num_adapter_parameters
        if self.micro_batch is None:
            fit_to_memory(run.prepared)
            self.micro_batch = training.micro_batch
        training.micro_batch = self.micro_batch
        self.opened, self.fitting = run, Fitting(training, run.snapshot)
        self.num_epochs, self.num_steps = training.config.epochs, training.num_steps
        if run.prepared.replay is not None:
            own = run.prepared.replay.replay
            self.depth_replayed = len(own.blocks), len(own.passed)
        # In the warm-up the rate is not the one that was asked for yet.
        least = max(_LEAST_STEPS, 2 * warmup_steps(training.config.warmup, self.num_steps))
        self.least_epochs = least / self.num_steps * self.num_epochs
        notes = [*run.dataset.notes, *run.prepared.notes, run.prepared.replay_state]
        self.on_opened(result.number, self.fitting.progress.step, self.num_steps, notes)
        self.random = random_state(training.accelerator.device)
        self._note_progress(self.fitting.progress)

    def _take(self, done: Run) -> None:
        result, metrics = self.result, done.metrics
        result.folder, result.epochs = done.folder, metrics["epochs_run"]
        result.seconds, result.score = metrics["train_seconds"], metrics.get("best_score")
        result.loss = metrics["validation"].get("loss", math.inf)
        result.report, result.metric = metrics["validation"], metrics["headline"]["name"]
        result.num_adapter_parameters = metrics["adapter_parameters"]
        self.is_at_end = True

    def close(self) -> None:
        """Free the adapter and the optimiser."""
        self._stack.close()
        self.opened = self.fitting = None

    def advance(self, to_epoch: float) -> None:
        """Train up to a point in epochs; what goes wrong is noted and ends only this one."""
        run, fitting = self.opened, self.fitting
        if run is None or fitting is None:
            return
        training = run.prepared.training
        device = training.accelerator.device
        restore_random_state(self.random, device)
        run.prepared.adapters.train(run.prepared.name)
        run.prepared.tell_of_replay()
        try:
            with run.prepared.replaying():
                fitting.run(to_epoch)
            run.prepared.replay_note()  # refuses replay that was asked for and cannot be
        except Interrupted:
            raise
        except InlayError as error:
            self._fail(error)
            return
        self.random = random_state(device)
        self._note_progress(fitting.progress)

    def _note_progress(self, progress: Progress) -> None:
        result = self.result
        self.is_at_end = progress.is_over()
        result.epochs = round(progress.step / self.num_steps * self.num_epochs, 2)
        result.seconds = round(progress.seconds, 2)
        if math.isfinite(progress.best_score):
            result.score, result.loss = progress.best_score, progress.best_loss

    def _fail(self, error: InlayError) -> None:
        self.result.state, self.result.error = "failed", error
        if self.opened is not None:  # its own reporter also writes the run's log
            self.opened.prepared.training.reporter.on_note(f"failed: {error}")
        self.is_at_end = False
        self.close()

    def report(self) -> None:
        """Score validation once more at the best state, for an interval."""

        def score(run: Opened, fitting: Fitting) -> None:
            self.result.report = report_on_validation(run.prepared, run.dataset)

        self._at_best(score)

    def end(self, *, measured: bool) -> None:
        """Measure and save it, or leave it with its checkpoint."""
        if self.result.state != "failed" and self.is_at_end and measured:
            self._at_best(
                lambda run, fitting: finish(run.prepared, run.dataset, run.folder, fitting.progress)
            )
        elif self.result.state != "failed" and not self._was_finished():
            self.result.state = "stopped"
        self.close()

    def _was_finished(self) -> bool:
        return self.result.folder is not None and RunFolder(self.result.folder).is_finished

    def _at_best(self, measure: Callable[[Opened, Fitting], None]) -> None:
        """Put the best state in place and measure something of it; a failure is the trial's own."""
        run, fitting = self.opened, self.fitting
        if run is None or fitting is None:
            return
        fitting.restore_best()
        run.prepared.adapters.train(run.prepared.name)
        try:
            with run.prepared.replaying():
                measure(run, fitting)
        except InlayError as error:
            self._fail(error)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(v) if isinstance(v, Path) else v for key, v in settings.items()}
