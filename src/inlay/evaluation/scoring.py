"""Run a base and a head over encoded rows."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inlay.tasks.base import AbstractTask, Encoded

BATCH_SIZE = 64
"""Rows of a batch in evaluation."""


def score_rows(
    task: AbstractTask,
    model: nn.Module,
    head: nn.Module,
    rows: Sequence[Encoded],
    tokenizer: Any,
    *,
    autocast: bool = False,
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Return the scores of all rows in their own order, in float32 on the CPU.

    Longest rows come first, so that memory runs out at once or not at all. The modules' training
    modes are restored afterwards.

    Args:
        task: Runs base and head.
        model: The base with the adapter active.
        head: The adapter's head.
        rows: Encoded examples, at least one.
        tokenizer: Pads them.
        autocast: Whether to compute in bfloat16.
        batch_size: Rows at a time.
    """
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in (*model.modules(), *head.modules())]
    model.eval()
    head.eval()
    order = sorted(range(len(rows)), key=lambda i: -rows[i].length)
    parts = []
    try:
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                chosen = [rows[i] for i in order[start : start + batch_size]]
                with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                    scores = task.scores(model, head, task.collate(chosen, tokenizer).to(device))
                parts.append(scores.float().cpu())
    finally:
        for module, training in modes:
            module.training = training
    scores = torch.cat(parts)
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    return scores[back]
