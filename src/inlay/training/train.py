"""`train` and `resume`: from data to a trained, measured, reloadable adapter."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from inlay.data.forms.base import Given
from inlay.data.rows import Dataset
from inlay.errors import RunError
from inlay.evaluation.predictor import Predictor, load_predictor
from inlay.evaluation.records import Record, mistakes
from inlay.methods.parse import parse_method
from inlay.training.checkpoint import Checkpoints, Snapshot
from inlay.training.claim import Claim
from inlay.training.config import ResolvedConfig, TrainConfig, resolve_config
from inlay.training.finish import base_size, finish
from inlay.training.interrupt import stop_on_signals
from inlay.training.loop import Fitting, Progress, steps_of
from inlay.training.prepare import Prepared, estimate_seconds, prepare
from inlay.training.reading import prepared_config, read_data
from inlay.training.reporter import Plan, Reporter, SilentReporter
from inlay.training.run_folder import (
    CHECKPOINT_FOLDER,
    DATA_FILE,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    RunFolder,
    choose_folder,
    claim_folder,
    environment,
    run_digest,
)
from inlay.training.run_log import RunLog, rewind_log


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
    return _run(resolved, reporter or SilentReporter(), force=force, folder=None)


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
    return _run(resolved, reporter or SilentReporter(), force=False, folder=folder)


def _run(
    resolved: ResolvedConfig, reporter: Reporter, *, force: bool, folder: RunFolder | None
) -> Run:
    preset = parse_method(resolved.config.method)
    dataset = read_data(resolved.config)
    resolved = prepared_config(resolved, dataset)
    config = resolved.config
    accelerator = Accelerator()
    is_main = accelerator.is_main_process
    if not is_main:
        reporter = SilentReporter()
    for note in resolved.notes:
        reporter.on_note(note)
    with _placed(accelerator, config, dataset, folder, force=force) as (folder, goes_on):
        checkpoints = Checkpoints(folder.path / CHECKPOINT_FOLDER)
        with stop_on_signals() as stop:
            prepared = prepare(
                config, preset, dataset, run=str(folder.path), checkpoints=checkpoints,
                reporter=RunLog(reporter, folder) if is_main else reporter, stop=stop,
            )  # fmt: skip
            snapshot, notes = checkpoints.newest() if goes_on else (None, [])
            if is_main:
                _write_records(prepared, resolved, dataset, folder)
                _rewind(folder, snapshot)
            with prepared.replaying():
                prepared.training.reporter.on_plan(_plan(prepared, dataset, folder))
                progress = _fit(prepared, snapshot, notes)
        if is_main:
            with prepared.replaying():
                finish(prepared, dataset, folder, progress)
    accelerator.wait_for_everyone()
    run = Run(folder.path)
    reporter.on_end(run.metrics)
    return run


@contextmanager
def _placed(
    accelerator: Accelerator,
    config: TrainConfig,
    dataset: Dataset,
    given: RunFolder | None,
    *,
    force: bool,
) -> Iterator[tuple[RunFolder, bool]]:
    """Claim the run's folder in the first process, and tell the others where it is.

    Gives the folder and whether it holds a run that goes on.
    """
    claim: Claim | None = None
    place: list[Any] = ["", False]
    if accelerator.is_main_process:
        if given is None:
            folder, goes_on, claim = choose_folder(config, dataset, force=force)
        elif given.digest() == run_digest(config, dataset):
            folder, goes_on, claim = given, True, claim_folder(given)
        else:
            raise RunError(
                f"{given.path}: the settings or the data have changed since this run was "
                "started, so it cannot go on. Start a new one with `inlay train`."
            )
        folder.remove_leftovers()
        place = [str(folder.path), goes_on]
    try:
        broadcast_object_list(place)
        yield RunFolder(Path(place[0])), place[1]
    finally:
        if claim is not None:
            claim.release()


def _write_records(
    prepared: Prepared, resolved: ResolvedConfig, dataset: Dataset, folder: RunFolder
) -> None:
    folder.write_config(resolved, run_digest(resolved.config, dataset))
    folder.write_json(DATA_FILE, dataset.to_record())
    device = str(prepared.training.accelerator.device)
    folder.write_json(ENVIRONMENT_FILE, environment(device))


def _rewind(folder: RunFolder, snapshot: Snapshot | None) -> None:
    done = Progress(**snapshot.state["progress"]) if snapshot is not None else Progress()
    rewind_log(folder, step=done.step, num_evaluations=done.num_evaluations)


def _fit(prepared: Prepared, snapshot: Snapshot | None, notes: list[str]) -> Progress:
    """Train, from a checkpoint if there is one, and put the best state in place."""
    reporter = prepared.training.reporter
    for note in notes:
        reporter.on_note(note)
    if snapshot is not None:
        reporter.on_note(f"going on at step {snapshot.state['progress']['step']}")
    fitting = Fitting(prepared.training, snapshot)
    for _ in fitting.epochs():
        pass
    fitting.restore_best()
    return fitting.progress


def _plan(prepared: Prepared, dataset: Dataset, folder: RunFolder) -> Plan:
    training, config = prepared.training, prepared.training.config
    entry = training.entry
    where = ""
    if entry.placement is not None:
        where = f"at {entry.placement.at}, layers {entry.placement.layers}"
        where += f" ({len(entry.layers)} sites)"
    settings = (
        f"{config.optimizer}, learning rate {config.learning_rate:g} {config.schedule}, batch "
        f"{config.batch_size}, up to {config.epochs} epochs, seed {config.seed}, "
        f"{prepared.numerics.precision}, at most {prepared.max_length} tokens"
    )
    return Plan(
        run=str(folder.path), task=prepared.task.name,
        base=f"{prepared.base.id} ({prepared.base.origin})",
        method=config.method, where=where,
        num_adapter_parameters=entry.num_adapter_parameters,
        num_head_parameters=entry.num_head_parameters,
        num_base_parameters=base_size(prepared, entry),
        rows={split: len(rows) for split, rows in dataset.splits.items()},
        num_labels=len(dataset.labels), num_steps=steps_of(training),
        seconds=estimate_seconds(prepared), settings=settings,
        notes=[*dataset.notes, *prepared.notes, prepared.replay_note],
    )  # fmt: skip
