"""A run that is open: its folder claimed, its data read, base and adapter ready to train."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from inlay.data.rows import Dataset
from inlay.errors import RunError
from inlay.methods.parse import parse_method
from inlay.training.checkpoint import Checkpoints, Snapshot
from inlay.training.claim import Claim
from inlay.training.config import ResolvedConfig, TrainConfig
from inlay.training.interrupt import StopRequest
from inlay.training.prepare import Prepared, prepare
from inlay.training.reading import prepared_config
from inlay.training.reporter import Reporter, SilentReporter
from inlay.training.run_folder import (
    CHECKPOINT_FOLDER,
    DATA_FILE,
    ENVIRONMENT_FILE,
    RunFolder,
    anchored,
    choose_folder,
    claim_folder,
    environment,
    run_digest,
)
from inlay.training.run_log import RunLog, rewind_log
from inlay.training.shelf import Shelf
from inlay.training.stacking import check_stack
from inlay.training.state import Progress


@final
@dataclass(kw_only=True, slots=True)
class Opened:
    """A run that is ready to start or to go on."""

    prepared: Prepared
    dataset: Dataset
    folder: RunFolder
    snapshot: Snapshot | None
    """Where it goes on from."""
    notes: list[str]
    """What was found wrong with checkpoints."""
    is_main: bool
    """Whether this process writes the run's files."""

    def say_where_it_starts(self) -> None:
        """Tell the reporter about checkpoints."""
        reporter = self.prepared.training.reporter
        for note in self.notes:
            reporter.on_note(note)
        if self.snapshot is not None:
            reporter.on_note(f"going on at step {self.snapshot.state['progress']['step']}")


@contextmanager
def opened(
    resolved: ResolvedConfig,
    reporter: Reporter,
    *,
    force: bool,
    folder: RunFolder | None,
    stop: StopRequest,
    shelf: Shelf,
) -> Iterator[Opened]:
    """Open a run for the length of a `with` block.

    Args:
        resolved: The settings.
        reporter: Is told what happens.
        force: Replace a run that is in the folder already.
        folder: A run to go on with; the settings say where if not given.
        stop: Says when to stop.
        shelf: What runs in this process share.

    Raises:
        ConfigError: If a setting is not known or not allowed.
        DataError: If the data cannot be used.
        BaseError: If the base cannot be used.
        RunError: If the folder holds something else, or another process has it.
    """
    # A mistake there is told before data are read.
    check_stack(resolved.config, parse_method(resolved.config.method))
    dataset = shelf.dataset(resolved.config)
    resolved = prepared_config(resolved, dataset)
    config, preset = resolved.config, parse_method(resolved.config.method)
    accelerator = Accelerator()
    is_main = accelerator.is_main_process
    if not is_main:
        reporter = SilentReporter()
    for note in resolved.notes:
        reporter.on_note(note)
    lasting = anchored(resolved)
    with _placed(accelerator, lasting.config, dataset, folder, force=force) as (place, goes_on):
        checkpoints = Checkpoints(place.path / CHECKPOINT_FOLDER)
        prepared = prepare(
            config, preset, dataset, run=str(place.path), checkpoints=checkpoints,
            reporter=RunLog(reporter, place) if is_main else reporter, stop=stop, shelf=shelf,
            attention=_attention_of(place) if goes_on else None,
        )  # fmt: skip
        snapshot, notes = checkpoints.newest() if goes_on else (None, [])
        if is_main:
            _write_records(prepared, lasting, dataset, place)
            _rewind(place, snapshot)
        try:
            yield Opened(
                prepared=prepared, dataset=dataset, folder=place, snapshot=snapshot, notes=notes,
                is_main=is_main,
            )  # fmt: skip
        finally:
            # The base may stay on the shelf, for other runs.
            prepared.adapters.use(None)
            prepared.adapters.remove(prepared.name)
    accelerator.wait_for_everyone()


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
    chosen = {"attention": prepared.attention.name}
    folder.write_json(ENVIRONMENT_FILE, environment(device) | chosen)


def _attention_of(folder: RunFolder) -> str | None:
    """Return the attention that a run began with: with another one it would not go on bitwise."""
    if not (folder.path / ENVIRONMENT_FILE).is_file():
        return None
    name: str | None = folder.read_json(ENVIRONMENT_FILE).get("attention")
    return name


def _rewind(folder: RunFolder, snapshot: Snapshot | None) -> None:
    done = Progress(**snapshot.state["progress"]) if snapshot is not None else Progress()
    rewind_log(folder, step=done.step, num_evaluations=done.num_evaluations)
