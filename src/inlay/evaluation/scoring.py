"""Run a base and a head over encoded rows."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inlay.errors import is_out_of_memory
from inlay.tasks.base import AbstractTask, Encoded

BATCH_SIZE = 64
"""Rows of a batch in evaluation, at most."""

POSITIONS = 4096
"""Positions of such a batch, at most; a large vocabulary has as many numbers for each of them."""

_ALIKE = 0.75
"""A batch ends before a row shorter than this share of its longest, as padding costs like words."""

ENOUGH = 512
"""Positions that a batch has at least, before it ends for that; fewer leave a processor idle."""


def score_rows(
    task: AbstractTask,
    model: nn.Module,
    head: nn.Module | None,
    rows: Sequence[Encoded],
    tokenizer: Any,
    *,
    autocast: bool = False,
    batch_size: int = BATCH_SIZE,
    positions: int = POSITIONS,
) -> list[Tensor]:
    """Return what the task keeps of each row's scores, in their own order, in float32 on the CPU.

    Longest rows come first, so that memory runs out at once or not at all; if it does, a batch is
    halved. The modules' training modes are restored afterwards.

    Args:
        task: Runs base and head.
        model: The base with the adapter active.
        head: The adapter's head, if the task has one.
        rows: Encoded examples, at least one.
        tokenizer: Pads them.
        autocast: Whether to compute in bfloat16.
        batch_size: Rows at a time.
        positions: Positions at a time, padding included; a row with more is alone.
    """
    device = next(model.parameters()).device
    heads = () if head is None else head.modules()
    modes = [(module, module.training) for module in (*model.modules(), *heads)]
    for module, _ in modes:
        module.training = False
    order = sorted(range(len(rows)), key=lambda i: (task.kind_of(rows[i]), -rows[i].length))
    kept: list[Tensor] = [torch.empty(0)] * len(order)
    try:
        with torch.inference_mode():
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                task = task.for_evaluation(model, head, rows, tokenizer)
            waiting = [*_batches(task, rows, order, batch_size, positions)][::-1]
            while waiting:
                numbers = waiting.pop()
                chosen = [rows[i] for i in numbers]
                try:
                    batch = task.collate(chosen, tokenizer).to(device)
                    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                        scores = task.scores(model, head, batch)
                    own = task.keep(scores, batch, chosen)
                except (MemoryError, RuntimeError) as error:
                    if len(numbers) == 1 or not is_out_of_memory(error):
                        raise
                    half = len(numbers) // 2
                    waiting += [numbers[half:], numbers[:half]]
                    continue
                for number, tensor in zip(numbers, own, strict=True):
                    kept[number] = tensor.float().cpu()
    finally:
        for module, training in modes:
            module.training = training
    return kept


def _batches(
    task: AbstractTask,
    rows: Sequence[Encoded],
    order: Sequence[int],
    batch_size: int,
    positions: int,
) -> Iterator[Sequence[int]]:
    """Cut an order of rows, longest first, into batches of one kind and of like length each."""
    for _, own in itertools.groupby(order, key=lambda i: task.kind_of(rows[i])):
        batch: list[int] = []
        for number in own:
            longest = rows[batch[0]].length if batch else 0
            is_enough = len(batch) * longest >= ENOUGH
            is_full = len(batch) == batch_size or (len(batch) + 1) * longest > positions
            if batch and (is_full or (is_enough and rows[number].length < _ALIKE * longest)):
                yield batch
                batch = []
            batch.append(number)
        yield batch
