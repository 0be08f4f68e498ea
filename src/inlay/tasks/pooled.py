"""What the tasks share that read one vector from a text: the head, encoding and padding."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.data.rows import Example
from inlay.tasks.base import AbstractTask, Batch, Encoded
from inlay.tasks.padding import padded


@final
class PooledHead(nn.Module):
    """Average the last hidden states over the real positions, then one linear map.

    A pretrained pooler is not used: that of a sentence encoder was often never trained. The head
    is float32 whatever the base is stored in. Parameters: `width * num_outputs + num_outputs`.

    Args:
        width: Channels of the hidden states.
        num_outputs: Channels of the result.
        dropout: Fraction of the pooled channels zeroed in training, in [0, 1).
    """

    def __init__(self, *, width: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, num_outputs)

    @override
    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return `(rows, num_outputs)` from `(rows, positions, width)` and `(rows, positions)`."""
        pooled = mean_pooled(hidden.to(self.out.weight.dtype), mask)
        logits: Tensor = self.out(self.dropout(pooled))
        return logits


def mean_pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the real positions, `(rows, width)`."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)


class AbstractPooledTask(AbstractTask):
    """A task whose head reads the mean of a text's last hidden states."""

    dropout: float

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Channels of the head's result."""

    @abstractmethod
    def target(self, example: Example) -> Any:
        """Return what is to be learnt of a row, or `None` if it is not known."""

    @override
    def build_head(self, width: int) -> nn.Module:
        return PooledHead(width=width, num_outputs=self.num_outputs, dropout=self.dropout)

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        features = encode_texts(examples, tokenizer, max_length=max_length)
        return [
            Encoded(features[row], self.target(example), row)
            for row, example in enumerate(examples)
        ]

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        return Batch(padded([row.features for row in rows], tokenizer), known_targets(rows))

    @override
    def scores(self, model: nn.Module, head: nn.Module | None, batch: Batch) -> Tensor:
        if head is None:
            raise ValueError("a pooled task has a head")
        hidden = model(**batch.inputs).last_hidden_state
        logits: Tensor = head(hidden, batch.inputs["attention_mask"])
        return logits


def encode_texts(
    examples: Sequence[Example], tokenizer: Any, *, max_length: int
) -> list[dict[str, list[int]]]:
    """Return the features of texts, pairs, or both mixed, cut to `max_length` tokens."""
    found: dict[int, dict[str, list[int]]] = {}
    for has_pair in (False, True):
        rows = [row for row, own in enumerate(examples) if (own.pair is not None) == has_pair]
        if not rows:
            continue
        encoded = tokenizer(
            [examples[row].text for row in rows],
            [examples[row].pair for row in rows] if has_pair else None,
            truncation=True,
            max_length=max_length,
        )
        keys = [key for key in encoded if key != "attention_mask"]
        found |= {row: {key: encoded[key][at] for key in keys} for at, row in enumerate(rows)}
    return [found[row] for row in range(len(examples))]


def known_targets(rows: Sequence[Encoded]) -> Tensor | None:
    """Return the targets of rows as one tensor, or `None` if one is not known."""
    targets = [row.target for row in rows]
    return None if any(target is None for target in targets) else torch.tensor(targets)


def stacked_targets(batch: Batch) -> Tensor:
    """Return the targets of a batch.

    Raises:
        ValueError: If they are not known.
    """
    if batch.targets is None:
        raise ValueError("a batch without targets has no loss")
    return batch.targets
