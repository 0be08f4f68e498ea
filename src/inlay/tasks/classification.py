"""Text classification: one label for a text or a pair of texts."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from inlay.data.rows import Example
from inlay.metrics.classification import accuracy, macro_f1
from inlay.tasks.base import AbstractTask, Batch, Encoded, Prediction


@final
class ClassificationHead(nn.Module):
    """Average the last hidden states over the real positions, then one linear map.

    A pretrained pooler is not used: that of a sentence encoder was often never trained. The head
    is float32 whatever the base is stored in. Parameters: `width * num_labels + num_labels`.

    Args:
        width: Channels of the hidden states.
        num_labels: Number of classes.
        dropout: Fraction of the pooled channels zeroed in training, in [0, 1).
    """

    def __init__(self, *, width: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, num_labels)

    @override
    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return `(rows, num_labels)` from `(rows, positions, width)` and `(rows, positions)`."""
        weights = mask.unsqueeze(-1).to(self.out.weight.dtype)
        total = (hidden.to(self.out.weight.dtype) * weights).sum(dim=1)
        pooled = total / weights.sum(dim=1).clamp_min(1)
        logits: Tensor = self.out(self.dropout(pooled))
        return logits


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TextClassification(AbstractTask):
    """One of several labels for a text or a pair of texts.

    Args:
        labels: The classes' names, in the order of the head's outputs.
        temperature: What the logits are divided by, so that probabilities are honest (Guo et al.
            2017, arXiv:1706.04599).
        dropout: Of the head, in [0, 1).
    """

    name: ClassVar[str] = "text-classification"
    better: ClassVar[str] = "accuracy"

    labels: tuple[str, ...]
    temperature: float = 1.0
    dropout: float = 0.1

    @override
    def settings(self) -> dict[str, Any]:
        return {"task": self.name, **dataclasses.asdict(self), "labels": list(self.labels)}

    @override
    def build_head(self, width: int) -> nn.Module:
        return ClassificationHead(width=width, num_labels=len(self.labels), dropout=self.dropout)

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        if not examples:
            return []
        texts = [example.text for example in examples]
        pairs = [example.pair for example in examples]
        encoded = tokenizer(
            texts,
            None if pairs[0] is None else pairs,
            truncation=True,
            max_length=max_length,
        )
        index = {label: number for number, label in enumerate(self.labels)}
        return [
            Encoded(
                {key: encoded[key][row] for key in encoded if key != "attention_mask"},
                index.get(example.label),
            )
            for row, example in enumerate(examples)
        ]

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        padded = tokenizer.pad([row.features for row in rows], return_tensors="pt")
        targets = [row.target for row in rows]
        known = None if None in targets else torch.tensor(targets)
        return Batch(dict(padded), known)

    @override
    def scores(self, model: nn.Module, head: nn.Module, batch: Batch) -> Tensor:
        hidden = model(**batch.inputs).last_hidden_state
        logits: Tensor = head(hidden, batch.inputs["attention_mask"])
        return logits

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        if batch.targets is None:
            raise ValueError("a batch without targets has no loss")
        return F.cross_entropy(scores, batch.targets, label_smoothing=label_smoothing)

    @override
    def decode(self, scores: Tensor) -> list[Prediction]:
        rows = (scores.double() / self.temperature).softmax(-1).tolist()
        return [
            Prediction(
                self.labels[max(range(len(row)), key=row.__getitem__)],
                dict(zip(self.labels, row, strict=True)),
            )
            for row in rows
        ]

    @override
    def metrics(self, scores: Tensor, targets: Tensor) -> dict[str, float]:
        chosen, known = scores.argmax(-1).tolist(), targets.tolist()
        return {
            "accuracy": accuracy(known, chosen),
            "macro_f1": macro_f1(known, chosen),
            "loss": float(F.cross_entropy(scores.double(), targets)),
        }

    @override
    def calibrated(self, scores: Tensor, targets: Tensor) -> "TextClassification":
        return dataclasses.replace(self, temperature=fit_temperature(scores, targets))


def fit_temperature(scores: Tensor, targets: Tensor) -> float:
    """Return the temperature with the least loss, between 0.05 and 20.

    The loss is convex in the inverse temperature, so a golden-section search finds it.
    """
    scores = scores.double()

    def loss(inverse: float) -> float:
        return float(F.cross_entropy(scores * inverse, targets))

    low, high = 0.05, 20.0
    ratio = (5**0.5 - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return round(2 / (low + high), 6)
