"""Keep a few rows for each class, to learn from little."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

from inlay.data.rows import Dataset, Example
from inlay.errors import DataError


def take_few(
    dataset: Dataset, number: int, classes: Callable[[Example], Sequence[str]], *, seed: int
) -> None:
    """Cut train and validation down to a few rows for each class; test stays whole.

    Validation is cut as well, since a choice by many validation rows is learning from many rows.

    Args:
        dataset: Is changed.
        number: Rows for each class; of rows without classes as many in all.
        classes: Gives the classes of a row.
        seed: Draws the rows; their order in the file has no influence.

    Raises:
        DataError: If `number` is below 1.
    """
    if number < 1:
        raise DataError(f"few_shot={number}: at least 1 row for each class is needed.")
    for split in ("train", "validation"):
        dataset.splits[split] = _few(dataset.splits[split], number, classes, seed)
    counts = Counter(label for row in dataset.splits["train"] for label in classes(row))
    short = [label for label in dataset.labels if counts[label] < number]
    kept = " and ".join(f"{len(dataset.splits[name])} {name}" for name in ("train", "validation"))
    of_each = " for each class" if dataset.labels else ""
    note = f"few-shot: {number} rows{of_each}, {kept} rows kept."
    if short:
        few = "1 class" if len(short) == 1 else f"{len(short)} classes"
        note += f" Fewer for {few}: {', '.join(short[:5])}."
    dataset.notes.append(note)


def _few(
    rows: Sequence[Example], number: int, classes: Callable[[Example], Sequence[str]], seed: int
) -> list[Example]:
    """Take rows in an order drawn by their text while a class of theirs has too few."""
    order = sorted(range(len(rows)), key=lambda index: _draw(rows[index], seed))
    counts: Counter[str] = Counter()
    chosen: list[int] = []
    for index in order:
        own = classes(rows[index]) or ("",)
        if any(counts[label] < number for label in own):
            counts.update(own)
            chosen.append(index)
    return [rows[index] for index in sorted(chosen)]


def _draw(row: Example, seed: int) -> bytes:
    content = f"{seed}\n{row.text}\n{row.pair}\n{row.label}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=8).digest()
