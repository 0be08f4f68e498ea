"""Rows of different lengths as one tensor, also where a tokenizer has no padding token."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inlay.tasks.writing import pad, padding_of


def padded(
    rows: Sequence[Mapping[str, Sequence[int]]], tokenizer: Any, *, side: str | None = None
) -> dict[str, Tensor]:
    """Return each feature of rows as `(rows, longest)`, and their mask.

    Args:
        rows: Features of each, a number for each token, such as `input_ids`.
        tokenizer: That of the base.
        side: Where to pad, "left" or "right"; the tokenizer's own side if not given.
    """
    if tokenizer.pad_token_id is not None:
        lists = tokenizer.pad(list(rows), padding_side=side)
        return {key: torch.tensor(values, dtype=torch.long) for key, values in lists.items()}
    # What stands there does not matter, as it is masked.
    fills = {"input_ids": padding_of(tokenizer)}
    on_left = (side or tokenizer.padding_side) == "left"
    filled = {
        key: pad([row[key] for row in rows], fills.get(key, 0), on_left=on_left) for key in rows[0]
    }
    ones = [[1] * len(row["input_ids"]) for row in rows]
    return {**filled, "attention_mask": pad(ones, 0, on_left=on_left)}
