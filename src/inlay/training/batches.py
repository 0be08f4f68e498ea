"""The order of training: shuffled, yet with rows of like length together."""

import math
import random
from collections.abc import Sequence

from inlay.tasks.base import AbstractTask, Encoded
from inlay.training.config import TrainConfig

_WINDOW = 50
"""Batches within which rows are sorted by length: little padding, still a random order."""


def batch_order(
    lengths: Sequence[int],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    kinds: Sequence[int] | None = None,
    counts: Sequence[int] | None = None,
) -> list[list[int]]:
    """Return the batches of one epoch as row numbers, a pure function of seed and epoch.

    Args:
        lengths: Length of each row, in tokens.
        batch_size: Rows of a batch; the last one of a kind may be smaller.
        seed: Of the run.
        epoch: From 0.
        kinds: Kind of each row, from 0; a batch holds rows of one kind.
        counts: Rows of each kind in an epoch, if not all of them once. What one epoch leaves out
            comes in the next.
    """
    generator = random.Random(seed * 1_000_003 + epoch)
    own: dict[int, list[int]] = {}
    for row, kind in enumerate(kinds or [0] * len(lengths)):
        own.setdefault(kind, []).append(row)
    batches = []
    for kind in sorted(own):
        if counts is None or counts[kind] == len(own[kind]):
            order = own[kind]
            generator.shuffle(order)
        else:
            order = _drawn(own[kind], counts[kind], seed=seed * 31 + kind, epoch=epoch)
        for start in range(0, len(order), batch_size * _WINDOW):
            window = sorted(order[start : start + batch_size * _WINDOW], key=lambda i: lengths[i])
            batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
    generator.shuffle(batches)
    return batches


def _drawn(rows: Sequence[int], count: int, *, seed: int, epoch: int) -> list[int]:
    """Return the rows of an epoch from an endless sequence of shuffled rounds over all rows."""
    drawn: list[int] = []
    at = epoch * count
    while len(drawn) < count:
        round_of, place = divmod(at + len(drawn), len(rows))
        order = list(rows)
        random.Random(seed * 1_000_003 + round_of).shuffle(order)
        drawn += order[place : place + count - len(drawn)]
    return drawn


def mixture(task: AbstractTask, rows: Sequence[Encoded]) -> tuple[list[int], list[int]]:
    """Return the kind of each row, and how many rows of each kind an epoch has."""
    kinds = [task.kind_of(row) for row in rows]
    sizes = [kinds.count(kind) for kind in range(max(kinds, default=0) + 1)]
    return kinds, task.rows_per_epoch(sizes)


def count_steps(config: TrainConfig, counts: Sequence[int]) -> int:
    """Count the optimiser's steps of a whole training.

    Args:
        config: Batch size and epochs.
        counts: Rows of each kind in an epoch.
    """
    batches = sum(math.ceil(count / config.batch_size) for count in counts)
    return math.ceil(batches / config.gradient_accumulation) * config.epochs


def usual_rows(lengths: Sequence[int], batch_size: int) -> list[int]:
    """Return the numbers of rows of usual length, a batch of them, shortest first."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    middle, half = len(order) // 2, batch_size // 2
    return order[max(0, middle - half) : middle + half + 1][:batch_size]
