"""From documents to one stream of tokens, and from the stream to sequences."""

import itertools
import random
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from inlay.pretraining.objectives import AbstractObjective, Window

_DOCUMENTS_AT_ONCE = 1000
_LEAST = 2
"""Tokens of a sequence from which something can be learnt."""


@final
class Stream:
    """Tokens of many documents, one after another, cut into sequences.

    Args:
        tokens: `[tokens]`, int32.
        window: How they are cut.
        keeps_rest: Whether a shorter sequence at the end counts.
    """

    def __init__(self, tokens: Tensor, window: Window, *, keeps_rest: bool) -> None:
        self.tokens = tokens
        self._window = window
        least = _LEAST if keeps_rest else window.size
        self._starts = range(0, max(0, len(tokens) - least + 1), window.stride)

    def __len__(self) -> int:
        """Count the sequences."""
        return len(self._starts)

    def row(self, index: int) -> Tensor:
        """Return one sequence, int64."""
        start = self._starts[index]
        return self.tokens[start : start + self._window.size].long()

    def rows(self, indices: Sequence[int]) -> list[Tensor]:
        """Return several sequences."""
        return [self.row(index) for index in indices]


def encode(documents: Sequence[str], tokenizer: Any, objective: AbstractObjective) -> Tensor:
    """Return the tokens of all documents, each between what the objective puts around it.

    Args:
        documents: Texts.
        tokenizer: Of `transformers`.
        objective: Says what stands between documents.

    Returns:
        `[tokens]`, int32.
    """
    before, after = objective.around()
    parts = []
    for start in range(0, len(documents), _DOCUMENTS_AT_ONCE):
        texts = list(documents[start : start + _DOCUMENTS_AT_ONCE])
        encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        ids = itertools.chain.from_iterable([*before, *row, *after] for row in encoded)
        parts.append(torch.tensor(list(ids), dtype=torch.int32))
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int32)


def order_of(number: int, *, seed: int, epoch: int) -> list[int]:
    """Return the order of sequences in an epoch, a pure function of seed and epoch."""
    order = list(range(number))
    random.Random(seed * 1_000_003 + epoch).shuffle(order)
    return order
