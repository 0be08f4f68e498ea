"""Say before a run how much memory it will take at most, and halve the batch if that is too much.

Activations grow with the tokens of a batch: `bytes = a + b * tokens`. Two small steps at the
length of the longest rows give `a` and `b`, and with them the peak at the longest batch, which is
tried too where by this it takes at most half of what is free: on a CPU more than once and in turn
with shorter rows, as batches of several lengths leave holes between blocks of memory.
"""

import ctypes
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from inlay.errors import is_out_of_memory
from inlay.training.checkpoint import random_state, restore_random_state
from inlay.training.state import Training
from inlay.training.step import forward_backward, set_modes

_STATES = {"adamw": 2, "adam": 2, "sgd": 1, "adagrad": 0, "adafactor": 0}
"""Optimiser -> tensors that it makes at its first step for each trained one, which no probe sees.
Adagrad makes its own at once, Adafactor's are small."""

_RESET = Path("/proc/self/clear_refs")
"""Linux' own."""

_ROUNDS = 2
"""How often the longest batch is tried, each time behind shorter rows."""

_SHARE = 0.95
"""Share of what is free that may be taken."""


@final
@dataclass(frozen=True, slots=True)
class Memory:
    """A prediction.

    Attributes:
        peak_bytes: What the process, or the device, holds at most while training.
        now_bytes: What it holds now.
        free_bytes: What it can get besides; `None` if the system does not tell.
        micro_batch: Rows that go through the model at once, so that it fits.
        longest: Tokens of the longest row.
    """

    peak_bytes: int
    now_bytes: int
    free_bytes: int | None
    micro_batch: int
    longest: int


def predict_memory(training: Training) -> Memory | None:
    """Predict the peak of a training; `None` where the system tells no peak.

    Nothing is changed by it. The pages of replayed states are not counted: the system takes them
    back when it needs them.

    Args:
        training: Ready to start, with replay paused.
    """
    device = training.accelerator.device
    if peak_since_reset(device) is None:
        return None
    rows, shorter = _longest_rows(training)
    number, longest = len(rows), training.train[rows[0]].length
    sizes = sorted({max(1, number // 4), max(1, number // 2)})
    sizes = sizes if len(sizes) == 2 or number == 1 else [1, number]
    state = random_state(device)
    set_modes(training)
    _give_back_freed()
    now, available = held(device), free(device)
    peaks: dict[int, int] = {}
    micro_batch = training.config.batch_size
    try:
        for size in sizes:
            peaks[size] = _peak(training, rows[:size])
        is_safe = available is not None and _at(number, peaks) - now <= available / 2
        if is_safe:
            rounds = 1 if device.type == "cuda" else _ROUNDS
            peaks[number] = _peak(training, *([shorter, rows] * rounds))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        micro_batch = max(peaks, default=1)
    finally:
        training.optimizer.zero_grad()
        restore_random_state(state, device)
    if not peaks:
        return Memory(now, now, available, 1, longest)

    def at(size: int) -> int:
        return _at(size, peaks) + _later(training)

    while available is not None and micro_batch > 1 and at(micro_batch) - now > _SHARE * available:
        micro_batch = math.ceil(micro_batch / 2)
    return Memory(at(min(micro_batch, number)), now, available, micro_batch, longest)


def _at(size: int, peaks: dict[int, int]) -> int:
    """Return the peak for so many rows, on the line through the last two that were measured."""
    if size in peaks or len(peaks) == 1:
        return peaks.get(size, max(peaks.values()))
    (few, low), (many, high) = sorted(peaks.items())[-2:]
    slope = max(0.0, (high - low) / (many - few))
    return round(high + slope * (size - many))


def _step(training: Training, rows: Sequence[int]) -> None:
    forward_backward(training, list(rows), len(rows))
    training.optimizer.zero_grad()


def _longest_rows(training: Training) -> tuple[list[int], list[int]]:
    """Return the numbers of a batch of the longest rows of one kind, and of one of shorter rows."""
    by_length = sorted(range(len(training.train)), key=lambda i: -training.train[i].length)
    kind = training.task.kind_of(training.train[by_length[0]])
    same = [i for i in by_length if training.task.kind_of(training.train[i]) == kind]
    size = training.config.batch_size
    return same[:size], same[len(same) // 2 :][:size]


def _later(training: Training) -> int:
    """Return the bytes of what is made later: the optimiser's state and the best weights."""
    parameters = [p for group in training.optimizer.param_groups for p in group["params"]]
    size: int = sum(p.numel() * p.element_size() for p in parameters)
    return size * (1 + _STATES[training.config.optimizer])


def _peak(training: Training, *batches: Sequence[int]) -> int:
    """Return the peak over a step for each of some batches."""
    device = training.accelerator.device
    _give_back_freed()
    reset_peak(device)
    for rows in batches:
        _step(training, rows)
    return peak_since_reset(device) or 0


def _give_back_freed() -> None:
    """Let the C library return freed pages, in which a small step would hide; glibc only."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def held(device: torch.device) -> int:
    """Return the bytes that the process holds on a device, on the CPU in all."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return _status("VmRSS") or 0


def reset_peak(device: torch.device) -> None:
    """Let the peak begin anew from what is held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    _RESET.write_text("5")  # VmHWM starts again at VmRSS


def peak_since_reset(device: torch.device) -> int | None:
    """Return the most bytes that were held since the last reset; `None` where none can be had."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu" or not os.access(_RESET, os.W_OK):
        return None
    return _status("VmHWM")


def free(device: torch.device) -> int | None:
    """Return the bytes that can be got besides what is held; `None` if the system does not tell."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + cached)
    found = [_kilobytes(Path("/proc/meminfo"), "MemAvailable"), _free_in_group()]
    known = [size for size in found if size is not None]
    return min(known) if known else None


def _free_in_group() -> int | None:
    """Return what a container's limit leaves, if it has one."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        return limit - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # "max": no limit
        return None


def _status(name: str) -> int | None:
    return _kilobytes(Path("/proc/self/status"), name)


def _kilobytes(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None
    )


def note_on(memory: Memory | None, config: Any) -> list[str]:
    """Say that the batch was cut, if it was."""
    if memory is None or memory.micro_batch >= config.batch_size:
        return []
    return [
        f"memory would not suffice for {config.batch_size} rows of {memory.longest} tokens: "
        f"{memory.micro_batch} rows at a time, summed up to the same batch"
    ]
