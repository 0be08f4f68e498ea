"""Checkpoints that are whole or not there: written aside, hashed, renamed, verified on reading."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from inlay.errors import ResourceError
from inlay.store.atomic import folder_atomically

MANIFEST_FILE = "manifest.json"
_FILES = {"weights.safetensors", "best.safetensors", "optimizer.safetensors", "state.json"}
_DISK_FULL = 28


@final
@dataclass(kw_only=True, slots=True)
class Snapshot:
    """Everything that a training needs to go on as if it had never stopped.

    Attributes:
        weights: The adapter's tensors now.
        best: The adapter's tensors at the best evaluation so far; empty before the first.
        optimizer: The optimiser's and schedule's tensors, flattened to names.
        state: The rest, as plain data: position, early stopping, random generators' names.
    """

    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


@final
class Checkpoints:
    """The checkpoints of one run, the newest two.

    Two and not one, so that there is one to fall back to if the newest is damaged.

    Args:
        folder: Where they lie.
        go_on: How the user goes on after making room; `inlay resume` on the run if `None`.
    """

    def __init__(self, folder: Path, *, go_on: str | None = None) -> None:
        self.folder = folder
        self._go_on = go_on or f"run `inlay resume {folder.parent}`"

    def save(self, snapshot: Snapshot, step: int) -> Path:
        """Write a checkpoint and remove those before the last two.

        Raises:
            ResourceError: If the disk is full; the earlier checkpoints are still there.
        """
        path = self.folder / f"step-{step:06d}"
        files = {
            "weights.safetensors": to_safetensors(_plain(snapshot.weights)),
            "best.safetensors": to_safetensors(_plain(snapshot.best)),
            "optimizer.safetensors": to_safetensors(_plain(snapshot.optimizer)),
            "state.json": json.dumps(snapshot.state).encode(),
        }
        manifest = {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        }
        try:
            with folder_atomically(path) as temporary:
                for name, data in files.items():
                    (temporary / name).write_bytes(data)
                (temporary / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2))
        except OSError as error:
            if error.errno == _DISK_FULL:
                size = sum(len(data) for data in files.values())
                raise ResourceError(
                    f"the disk is full: a checkpoint of {size / 1e6:.0f} MB does not fit into "
                    f"{self.folder}. The one before is kept; make room and "
                    f"{self._go_on}."
                ) from error
            raise
        for old in self.paths()[:-2]:
            shutil.rmtree(old, ignore_errors=True)
        return path

    def paths(self) -> list[Path]:
        """List the checkpoints, oldest first."""
        found = self.folder.glob("step-*") if self.folder.is_dir() else []
        return sorted(found, key=lambda path: (len(path.name), path.name))

    def newest(self) -> tuple[Snapshot | None, list[str]]:
        """Read the newest checkpoint that is whole.

        Returns:
            The snapshot, or `None` if there is none; and one note for each damaged one.
        """
        notes: list[str] = []
        for path in reversed(self.paths()):
            problem = _problem(path)
            if problem is None:
                return _read(path), notes
            notes.append(f"checkpoint {path.name} is damaged ({problem}); using the one before")
        return None, notes

    def clear(self) -> None:
        """Remove all checkpoints, once the run is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}


def _problem(path: Path) -> str | None:
    """Say what is wrong with a checkpoint, or `None`."""
    try:
        manifest = json.loads((path / MANIFEST_FILE).read_text())
        if set(manifest) != _FILES:
            return f"{MANIFEST_FILE} lists other files"
        for name, entry in manifest.items():
            data = (path / name).read_bytes()
            if len(data) != entry["bytes"]:
                return f"{name} has {len(data)} bytes, not {entry['bytes']}"
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                return f"{name} was changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _read(path: Path) -> Snapshot:
    try:
        tensors = {
            name: from_safetensors((path / f"{name}.safetensors").read_bytes())
            for name in ("weights", "best", "optimizer")
        }
    except SafetensorError as error:  # the hashes were right, so this is a fault of ours
        raise RuntimeError(f"{path}: {error}") from error
    return Snapshot(**tensors, state=json.loads((path / "state.json").read_text()))


def flatten_optimizer(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state into tensors by name and plain data.

    Args:
        state: What `Optimizer.state_dict()` gives.

    Returns:
        Tensors, and JSON-able data; `unflatten_optimizer` puts them together again.
    """
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {"param_groups": state["param_groups"], "state": {}}
    for index, slots in state["state"].items():
        plain["state"][str(index)] = {}
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"{index}/{name}"] = value
            else:
                plain["state"][str(index)][name] = value
    return tensors, plain


def unflatten_optimizer(tensors: dict[str, Tensor], plain: dict[str, Any]) -> dict[str, Any]:
    """Put an optimiser's state together again."""
    slots: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in plain["state"].items()}
    for key, value in tensors.items():
        index, name = key.split("/", 1)
        slots[int(index)][name] = value
    return {"param_groups": plain["param_groups"], "state": slots}


def random_state(device: torch.device | None = None) -> dict[str, list[int]]:
    """Return the state of PyTorch's generators, as plain numbers.

    Args:
        device: Whose generator is needed besides that of the CPU.
    """
    states = {"cpu": torch.random.get_rng_state()}
    if device is not None and device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return {name: [int(value) for value in state.tolist()] for name, state in states.items()}


def restore_random_state(states: dict[str, list[int]], device: torch.device | None = None) -> None:
    """Set the state of PyTorch's generators, that of the device if it was saved on one like it."""
    torch.random.set_rng_state(torch.tensor(states["cpu"], dtype=torch.uint8))
    if device is not None and device.type != "cpu" and device.type in states:
        state = torch.tensor(states[device.type], dtype=torch.uint8)
        torch.get_device_module(device).set_rng_state(state)
