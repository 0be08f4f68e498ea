"""The order of training: shuffled, yet with rows of like length together."""

import random
from collections.abc import Sequence

_WINDOW = 50
"""Batches within which rows are sorted by length: little padding, still a random order."""


def batch_order(
    lengths: Sequence[int], *, batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Return the batches of one epoch as row numbers, a pure function of seed and epoch.

    Args:
        lengths: Length of each row, in tokens.
        batch_size: Rows of a batch; the last one may be smaller.
        seed: Of the run.
        epoch: From 0.
    """
    generator = random.Random(seed * 1_000_003 + epoch)
    order = list(range(len(lengths)))
    generator.shuffle(order)
    batches = []
    for start in range(0, len(order), batch_size * _WINDOW):
        window = sorted(order[start : start + batch_size * _WINDOW], key=lambda i: lengths[i])
        batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
    generator.shuffle(batches)
    return batches


def by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return batches for evaluation: longest rows first, so that memory runs out at once or not."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
