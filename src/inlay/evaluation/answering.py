"""Answer encoded rows: by scores and decoding, or by writing token after token."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from inlay.data.rows import Example
from inlay.evaluation.scoring import BATCH_SIZE, score_rows
from inlay.tasks.base import (
    AbstractGenerativeTask,
    AbstractPrediction,
    AbstractTask,
    Encoded,
)


def answer_rows(
    task: AbstractTask,
    model: nn.Module,
    head: nn.Module | None,
    rows: Sequence[Encoded],
    examples: Sequence[Example],
    tokenizer: Any,
    *,
    autocast: bool = False,
    batch_size: int = BATCH_SIZE,
) -> list[AbstractPrediction]:
    """Return one answer for each example.

    Args:
        task: Decodes or generates.
        model: The base with the adapter active.
        head: The adapter's head, if the task has one.
        rows: The examples, encoded.
        examples: What they were encoded from.
        tokenizer: Pads rows and reads tokens back.
        autocast: Whether to compute in bfloat16.
        batch_size: Rows at a time.
    """
    if not examples:
        return []
    if not isinstance(task, AbstractGenerativeTask):
        kept = score_rows(
            task, model, head, rows, tokenizer, autocast=autocast, batch_size=batch_size
        )
        return task.decode(kept, rows, examples)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: -rows[i].length)
    answers: dict[int, AbstractPrediction] = {}
    try:
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                numbers = order[start : start + batch_size]
                chosen = [rows[i] for i in numbers]
                with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                    written = task.generate(model, chosen, tokenizer, device=device)
                answers |= dict(zip(numbers, written, strict=True))
    finally:
        model.train(was_training)
    return [answers[number] for number in range(len(rows))]
