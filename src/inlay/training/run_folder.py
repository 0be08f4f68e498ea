"""The folder of a run: what lies in it, and which unfinished one a command goes on with."""

import hashlib
import json
import os
import platform
import re
import shutil
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import yaml

from inlay.data.rows import Dataset
from inlay.errors import RunError
from inlay.store.atomic import is_leftover, write_atomically
from inlay.store.manifest import WEIGHTS_FILE, adapter_folder
from inlay.training.claim import Claim
from inlay.training.config import ResolvedConfig, TrainConfig, resolve_config

CONFIG_FILE = "config.yaml"
DATA_FILE = "data.json"
METRICS_FILE = "metrics.json"
LOG_FILE = "log.jsonl"
ENVIRONMENT_FILE = "environment.json"
ADAPTER_FOLDER = "adapter"
CHECKPOINT_FOLDER = "checkpoints"

_OWN_FILES = (CONFIG_FILE, DATA_FILE, METRICS_FILE, LOG_FILE, ENVIRONMENT_FILE, "predictions.jsonl")
_WRITTEN = (*_OWN_FILES, ADAPTER_FOLDER)
_NO_PART_OF_A_RUN = {"out", "checkpoint_seconds", "data", "stack_on"}
"""Settings that do not change what comes out, or that stand for content that is hashed."""


@final
class RunFolder:
    """Paths and files of one run.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def is_finished(self) -> bool:
        """Whether the metrics, which are written last, are there."""
        return (self.path / METRICS_FILE).is_file()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but what a killed process left behind, if even that."""
        if not self.path.exists():
            return True
        return self.path.is_dir() and all(
            is_leftover(p.name, _WRITTEN) for p in self.path.iterdir()
        )

    def remove_leftovers(self) -> None:
        """Remove half-written files of a process that was killed."""
        for path in self.path.glob(".*"):
            if is_leftover(path.name, _WRITTEN):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()

    def write_json(self, name: str, content: object) -> None:
        """Write a file of plain data, whole or not at all."""
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_atomically(self.path / name, text + "\n")

    def read_json(self, name: str) -> Any:
        """Read a file of plain data.

        Raises:
            RunError: If it is missing or damaged.
        """
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(f"{self.path} has no {name}: no run's folder, or not finished.") from (
                error
            )
        except ValueError as error:
            raise RunError(f"{path} is damaged: {error}.") from error

    def append_log(self, **event: Any) -> None:
        """Add one line to the log."""
        line = {"time": datetime.now().astimezone().isoformat(timespec="seconds"), **event}
        with (self.path / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def write_config(self, resolved: ResolvedConfig, digest: str) -> None:
        """Write the settings, each with where its value came from."""
        lines = [
            "# Every setting of this run. Run it again with: inlay train --config config.yaml",
            f"# run: {digest}",
        ]
        for key, value in resolved.config.model_dump().items():
            text = yaml.safe_dump(
                {key: value}, default_flow_style=True, width=10_000, allow_unicode=True
            ).strip()
            lines.append(f"{text[1:-1]}  # {resolved.origins[key]}")
        write_atomically(self.path / CONFIG_FILE, "\n".join(lines) + "\n")

    def read_config(self) -> ResolvedConfig:
        """Read the settings back.

        Raises:
            RunError: If the folder holds no run.
        """
        if not (self.path / CONFIG_FILE).is_file():
            raise RunError(
                f"{self.path} is no run's folder: it has no {CONFIG_FILE}. "
                "`inlay list` shows the runs there are."
            )
        return resolve_config({}, file=self.path / CONFIG_FILE)

    def digest(self) -> str | None:
        """Return what `run_digest` gave when the run was started."""
        path = self.path / CONFIG_FILE
        if not path.is_file():
            return None
        match = re.search(r"^# run: (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        return match[1] if match else None


def run_digest(config: TrainConfig, dataset: Dataset) -> str:
    """Hash what decides a run's result: settings, files, the rows of each split, what is below.

    Raises:
        FormatError: If the run is stacked on an adapter that is not there.
    """
    settings = config.model_dump(exclude=_NO_PART_OF_A_RUN)
    files = sorted(record.sha256 for record in dataset.files)
    # Without rows, files that trade their splits would look like the same data.
    rows = {
        split: [(row.text, row.pair, row.label, row.parts) for row in own]
        for split, own in dataset.splits.items()
    }
    below = [] if config.stack_on is None else _hashes(adapter_folder(config.stack_on))
    content = [settings, dataset.name, files, rows, below]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _hashes(folder: Path) -> list[str]:
    """Hash the files of a saved adapter, and of what that is stacked on."""
    weights = sorted(folder.rglob(WEIGHTS_FILE))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in weights]


def anchored(resolved: ResolvedConfig) -> ResolvedConfig:
    """Return the settings with all places on this machine in full, to go on from any folder."""
    config = resolved.config
    places = {name: getattr(config, name) for name in ("data", "base", "stack_on")}
    full = {
        name: str(Path(place).resolve())
        for name, place in places.items()
        if place is not None and _is_on_disk(name, place)
    }
    return ResolvedConfig(config.model_copy(update=full), resolved.origins, resolved.notes)


def _is_on_disk(setting: str, place: str) -> bool:
    """Tell whether a setting is a path; a base's name may be that of some other folder."""
    path = Path(place)
    return (path / "config.json").is_file() if setting == "base" else path.exists()


def choose_folder(
    config: TrainConfig, dataset: Dataset, *, force: bool
) -> tuple[RunFolder, bool, Claim]:
    """Find the folder for a run, and claim it for this process.

    Returns:
        The folder; whether it holds the same run unfinished, which then goes on; and the claim,
        to be released in the end.

    Raises:
        RunError: If `out` names a folder that holds something else or a finished run, or that
            another process is writing.
    """
    digest = run_digest(config, dataset)
    if config.out is not None:
        folder = RunFolder(Path(config.out))
        if folder.digest() is None and not folder.is_empty:
            raise RunError(f"{folder.path} exists and holds no run; choose another --out.")
        own = claim_folder(folder)
        try:
            return folder, _goes_on(folder, digest, force=force), own
        except RunError:
            own.release()
            raise
    for path in sorted(Path("runs").glob("*"), reverse=True):
        folder = RunFolder(path)
        if not folder.is_finished and folder.digest() == digest:
            claim = _claim_unfinished(folder)
            if claim is not None:
                return folder, True, claim
    return _new_folder(dataset.name)


def _claim_unfinished(folder: RunFolder) -> Claim | None:
    """Claim a run, unless another process is making it or has just finished it."""
    claim = Claim.take(folder.path)
    if claim is not None and folder.is_finished:
        claim.release()
        return None
    return claim


def claim_folder(folder: RunFolder) -> Claim:
    """Claim a run's folder for this process.

    Raises:
        RunError: If another process holds it.
    """
    claim = Claim.take(folder.path)
    if claim is None:
        raise RunError(
            f"{folder.path} is being written by another process; wait for it, stop it, or choose "
            "another --out."
        )
    return claim


def _goes_on(folder: RunFolder, digest: str, *, force: bool) -> bool:
    """Tell whether a named folder holds the same run unfinished; empty it if that is wanted."""
    if folder.is_empty:
        return False
    if not folder.is_finished and folder.digest() == digest:
        return True
    if force:
        _empty(folder.path)
        return False
    if folder.is_finished:
        raise RunError(
            f"{folder.path} holds a finished run; choose another --out, or use --force to "
            "replace it."
        )
    raise RunError(
        f"{folder.path} holds an unfinished run with other settings or data. Go on with it: "
        f"inlay resume {folder.path}; or use --force to replace it."
    )


def _new_folder(name: str) -> tuple[RunFolder, bool, Claim]:
    """Make a folder that was not there, so that runs started together get one each."""
    safe = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
    stem = f"{safe}-{datetime.now().astimezone():%m%d-%H%M}"
    path, number = Path("runs") / stem, 1
    while True:
        claim = None if path.exists() else Claim.take(path)
        if claim is not None:
            return RunFolder(path), False, claim
        number += 1
        path = Path("runs") / f"{stem}-{number}"


def _empty(path: Path) -> None:
    """Remove a run's own files; anything else in the folder stays."""
    for name in (ADAPTER_FOLDER, CHECKPOINT_FOLDER):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in _OWN_FILES:
        (path / name).unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Return the versions that can make a difference."""
    packages = ("inlay", "torch", "transformers", "accelerate", "tokenizers", "numpy")
    return {"python": sys.version.split()[0], **{name: version(name) for name in packages}}


def environment(device: str) -> dict[str, Any]:
    """Return the versions and the machine a run was made with."""
    return {
        **versions(),
        "platform": platform.platform(),
        "device": device,
        "cores": os.cpu_count(),
    }
