"""`train` and `resume`: from data to a trained, measured, reloadable adapter."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, final

from inlay.data.forms.base import Given
from inlay.data.rows import Dataset
from inlay.errors import counted
from inlay.evaluation.predictor import Predictor, load_predictor
from inlay.evaluation.records import Record, mistakes
from inlay.training.config import ResolvedConfig, TrainConfig, resolve_config
from inlay.training.estimate import estimate_memory, estimate_seconds
from inlay.training.finish import base_size, finish
from inlay.training.interrupt import StopRequest, stop_on_signals
from inlay.training.loop import Fitting
from inlay.training.opened import Opened, opened
from inlay.training.prepare import Prepared
from inlay.training.reporter import Plan, Reporter, SilentReporter
from inlay.training.run_folder import METRICS_FILE, RunFolder
from inlay.training.shelf import Shelf
from inlay.training.speed import explain_speed
from inlay.training.state import Progress


@final
class Run:
    """A finished training: its folder, its numbers, its answers.

    Args:
        folder: The run's folder.

    Raises:
        RunError: If the run has not finished.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.metrics: dict[str, Any] = RunFolder(self.folder).read_json(METRICS_FILE)
        self._predictor: Predictor | None = None

    @property
    def config(self) -> TrainConfig:
        """The settings, all resolved."""
        return RunFolder(self.folder).read_config().config

    def predict(self, inputs: Sequence[Given]) -> list[Any]:
        """Answer raw inputs, see `Predictor.predict`; the base is loaded at the first call."""
        if self._predictor is None:
            self._predictor = load_predictor(self.folder)
        return self._predictor.predict(inputs)

    def errors(self, number: int = 20) -> list[Record]:
        """Return the most confidently wrong test rows."""
        return mistakes(self.folder, number)

    def __repr__(self) -> str:
        """Write it so that it can be pasted back."""
        return f"Run({str(self.folder)!r})"


def train(
    data: str | Path | None = None,
    *,
    config: str | Path | None = None,
    reporter: Reporter | None = None,
    force: bool = False,
    given_as: str = "argument",
    shelf: Shelf | None = None,
    stop: StopRequest | None = None,
    **settings: Any,
) -> Run:
    """Train an adapter on labelled texts, measure it, and save it in a run's folder.

    The same command again goes on with a run that was interrupted.

    Args:
        data: File, folder, built-in or Hub name; may stand in the config file instead.
        config: A YAML file of settings.
        reporter: Is told what happens; nothing is printed without one.
        force: Replace a run that is in the folder already.
        given_as: What the origin of `settings` is called in the run's record.
        shelf: What trainings in this process share; one that is given to several calls spares
            them loading the base and reading the rows again.
        stop: Says when to stop, where the caller hears signals; heard here if not given.
        settings: Any field of `TrainConfig`.

    Raises:
        ConfigError: If a setting is not known or not allowed.
        DataError: If the data cannot be used.
        BaseError: If the base is not to be found.
        RunError: If the folder holds something else.
        Interrupted: If a signal asked to stop; a checkpoint was written.
        TrainingError: If the loss is not a number or the saved adapter does not reload.
    """
    given = {**settings, "data": None if data is None else str(data)}
    resolved = resolve_config(given, file=config, given_as=given_as)
    reporter, shelf = reporter or SilentReporter(), shelf or Shelf()
    return _run(resolved, reporter, shelf, force=force, folder=None, stop=stop)


def resume(run: str | Path, *, reporter: Reporter | None = None) -> Run:
    """Go on with a run that was interrupted; a finished one is returned as it is.

    Args:
        run: The run's folder.
        reporter: Is told what happens.

    Raises:
        RunError: If the folder holds no run, or its data have changed since.
    """
    folder = RunFolder(Path(run))
    resolved = folder.read_config()
    if folder.is_finished:
        return Run(folder.path)
    return _run(resolved, reporter or SilentReporter(), Shelf(), force=False, folder=folder)


def _run(
    resolved: ResolvedConfig,
    reporter: Reporter,
    shelf: Shelf,
    *,
    force: bool,
    folder: RunFolder | None,
    stop: StopRequest | None = None,
) -> Run:
    with (
        stop_on_signals() if stop is None else nullcontext(stop) as stop,
        opened(resolved, reporter, force=force, folder=folder, stop=stop, shelf=shelf) as run,
    ):
        with run.prepared.replaying():
            run.prepared.training.reporter.on_plan(plan_of(run.prepared, run.dataset, run.folder))
            progress = _fit(run)
        if run.is_main:
            with run.prepared.replaying():
                finish(run.prepared, run.dataset, run.folder, progress)
    finished = Run(run.folder.path)
    if run.is_main:
        reporter.on_end(finished.metrics)
    return finished


def _fit(run: Opened) -> Progress:
    """Train, from a checkpoint if there is one, and put the best state in place."""
    run.say_where_it_starts()
    run.prepared.tell_of_replay()
    fitting = Fitting(run.prepared.training, run.snapshot)
    fitting.run()
    fitting.restore_best()
    return fitting.progress


def plan_of(prepared: Prepared, dataset: Dataset, folder: RunFolder) -> Plan:
    """Say what is going to be done, and about how long it takes."""
    training, config = prepared.training, prepared.training.config
    entry, memory = training.entry, estimate_memory(prepared)
    where = ""
    if entry.placement is not None:
        where = f"at {entry.placement.at}, layers {entry.placement.layers}"
        where += f" ({counted(len(entry.layers), 'site')})"
    if config.stack_on is not None:
        where += f"{', ' if where else ''}on top of {config.stack_on}, which stays as it is"
    settings = (
        f"{config.optimizer}, learning rate {config.learning_rate:g} {config.schedule}, batch "
        f"{config.batch_size}, up to {counted(config.epochs, 'epoch')}, seed {config.seed}, "
        f"{prepared.numerics.precision}, at most {prepared.max_length} tokens"
    )
    if not training.trains_base:
        settings += f", trunk dropout {'on' if training.trunk_dropout else 'off'}"
    return Plan(
        run=str(folder.path), task=prepared.task.name,
        base=f"{prepared.base.id} ({prepared.base.origin})",
        method=config.method, where=where,
        num_adapter_parameters=entry.num_adapter_parameters,
        num_head_parameters=entry.num_head_parameters,
        num_base_parameters=base_size(prepared),
        rows={split: len(rows) for split, rows in dataset.splits.items()},
        num_labels=len(prepared.task.settings().get("labels", dataset.labels)),
        num_steps=training.num_steps,
        seconds=estimate_seconds(prepared), settings=settings, speed=explain_speed(prepared),
        peak_bytes=None if memory is None else memory.peak_bytes,
        free_bytes=None if memory is None else memory.free_bytes,
        notes=[*dataset.notes, *prepared.notes, prepared.replay_note()],
    )  # fmt: skip
