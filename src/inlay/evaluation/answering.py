"""Answer examples: by scores and decoding, or by writing token after token."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inlay.data.rows import Example
from inlay.evaluation.scoring import BATCH_SIZE, POSITIONS, score_rows
from inlay.tasks.base import AbstractPrediction, AbstractTask, Encoded
from inlay.tasks.writing import AbstractWritingTask, Written


def answer_rows(
    task: AbstractTask,
    model: nn.Module,
    head: nn.Module | None,
    rows: Sequence[Encoded],
    examples: Sequence[Example],
    tokenizer: Any,
    *,
    kept: Sequence[Tensor] | None = None,
    autocast: bool = False,
    batch_size: int = BATCH_SIZE,
    positions: int = POSITIONS,
) -> list[AbstractPrediction]:
    """Return for each example what a report needs: an answer, and how probable the known one is.

    Args:
        task: Decodes or writes.
        model: The base with the adapter active.
        head: The adapter's head, if the task has one.
        rows: The examples, encoded with what is known of them.
        examples: What they were encoded from.
        tokenizer: Pads rows and reads tokens back.
        kept: What `score_rows` gave for these rows; asked if not given.
        autocast: Whether to compute in bfloat16.
        batch_size: Rows at a time.
        positions: Positions at a time, where scores are asked for.
    """
    if not examples:
        return []
    if kept is None:
        kept = score_rows(
            task, model, head, rows, tokenizer, autocast=autocast, batch_size=batch_size,
            positions=positions,
        )  # fmt: skip
    found = task.decode(kept, rows, examples)
    if not isinstance(task, AbstractWritingTask) or not task.writes_for_report:
        return found
    written = [
        write_rows(own, model, rows, tokenizer, autocast=autocast, batch_size=batch_size)
        for own in (task, *task.writers_of_others())
    ]
    return [
        dataclasses.replace(
            texts[0], nll=own.nll, tokens=own.tokens, others=tuple(text.text for text in texts[1:])
        )
        if isinstance(own, Written)
        else own
        for texts, own in zip(zip(*written, strict=True), found, strict=True)
    ]


def write_rows(
    task: AbstractWritingTask,
    model: nn.Module,
    rows: Sequence[Encoded],
    tokenizer: Any,
    *,
    autocast: bool = False,
    batch_size: int = BATCH_SIZE,
) -> list[Written]:
    """Return a text for each row, in their order; the longest rows are done first.

    Args:
        task: Writes.
        model: The base with the adapter active.
        rows: Encoded prompts.
        tokenizer: Pads rows and reads tokens back.
        autocast: Whether to compute in bfloat16.
        batch_size: Rows at a time.
    """
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: -rows[i].length)
    texts = [Written("")] * len(rows)
    try:
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                numbers = order[start : start + batch_size]
                chosen = [rows[i] for i in numbers]
                with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                    written = task.write(model, chosen, tokenizer, device=device)
                for number, text in zip(numbers, written, strict=True):
                    texts[number] = text
    finally:
        for module, training in modes:
            module.training = training
    return texts


def answer_prompts(
    task: AbstractTask,
    model: nn.Module,
    head: nn.Module | None,
    examples: Sequence[Example],
    tokenizer: Any,
    *,
    max_length: int,
    autocast: bool = False,
) -> list[AbstractPrediction]:
    """Return an answer for each example of which nothing is known.

    Args:
        task: Encodes, and decodes or writes.
        model: The base with the adapter active.
        head: The adapter's head, if the task has one.
        examples: What is asked.
        tokenizer: Of the base.
        max_length: Tokens of a text that are read.
        autocast: Whether to compute in bfloat16.
    """
    if not examples:
        return []
    if isinstance(task, AbstractWritingTask):
        rows = task.encode_prompts(examples, tokenizer, max_length=max_length)
        return [*write_rows(task, model, rows, tokenizer, autocast=autocast)]
    rows = task.encode(examples, tokenizer, max_length=max_length)
    kept: list[Tensor] = score_rows(task, model, head, rows, tokenizer, autocast=autocast)
    return task.decode(kept, rows, examples)
