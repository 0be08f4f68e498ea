"""Say what of texts is not read, as they are longer than what a base takes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from inlay.data.rows import Example
from inlay.errors import counted
from inlay.tasks.base import AbstractTask, Encoded
from inlay.tasks.writing import AbstractWritingTask

_UNBOUNDED = 10**6
"""Tokens that no text has."""


def truncation_notes(
    splits: Mapping[str, Sequence[Example]],
    encoded: Mapping[str, Sequence[Encoded]],
    task: AbstractTask,
    tokenizer: Any,
    *,
    max_length: int,
) -> list[str]:
    """Say how much text is cut off; only rows that fill the length can have been cut.

    Args:
        splits: Rows by split.
        encoded: The same rows as token ids.
        task: Encoded them.
        tokenizer: Of the base.
        max_length: Tokens of a row, at most.
    """
    own = {
        split: task.reading_notes(rows, max_length=max_length) for split, rows in encoded.items()
    }
    if any(notes is not None for notes in own.values()):
        return [f"{split}: {note}" for split, notes in own.items() for note in notes or ()]
    full: list[Example] = []
    total = rows = 0
    for split, examples in splits.items():
        rows += len(examples)
        total += sum(row.length for row in encoded[split])
        # What is read in several windows is read whole.
        windows = Counter(row.row for row in encoded[split])
        full += [
            examples[row.row]
            for row in encoded[split]
            if row.length >= max_length and windows[row.row] == 1
        ]
    lengths = [row.length for row in _uncut(full, task, tokenizer)]
    lost = [length - max_length for length in lengths if length > max_length]
    if not lost:
        return []
    note = (
        f"{len(lost) / rows:.1%} of rows exceed max_length {max_length} (longest "
        f"{max(lengths):,} tokens): truncated, {sum(lost) / (total + sum(lost)):.1%} of all "
        "tokens lost"
    )
    return [note]


def _uncut(rows: Sequence[Example], task: AbstractTask, tokenizer: Any) -> list[Encoded]:
    return task.encode(rows, tokenizer, max_length=_UNBOUNDED) if rows else []


def unread(
    rows: Sequence[Example], task: AbstractTask, tokenizer: Any, *, max_length: int
) -> list[str]:
    """Say what of texts is not read when they are answered.

    Args:
        rows: What is asked.
        task: Encodes it.
        tokenizer: Of the base.
        max_length: Tokens of a row, at most.
    """
    if not rows:
        return []
    if not isinstance(task, AbstractWritingTask):
        encoded = {"input": task.encode(rows, tokenizer, max_length=max_length)}
        return truncation_notes({"input": rows}, encoded, task, tokenizer, max_length=max_length)
    short, whole = (
        task.encode_prompts(rows, tokenizer, max_length=length)
        for length in (max_length, _UNBOUNDED)
    )
    cut = [one.length for one, other in zip(short, whole, strict=True) if one.length < other.length]
    if not cut:
        return []
    return [f"input: {counted(len(cut), 'text')} cut to {max(cut)} tokens, as in training"]
