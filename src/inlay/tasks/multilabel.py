"""Multi-label classification: any number of labels for a text or a pair of texts."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from inlay.data.rows import Dataset, Example
from inlay.metrics.headline import Headline
from inlay.metrics.multilabel import label_scores, tune_threshold
from inlay.tasks.base import AbstractPrediction, Batch, Encoded
from inlay.tasks.baselines import words_and_regressions
from inlay.tasks.classification import check_labels
from inlay.tasks.option_types import DropRate, InnerFraction, When
from inlay.tasks.pooled import AbstractPooledTask, PooledHead, stacked_targets


@final
@dataclass(frozen=True, slots=True)
class LabelSet(AbstractPrediction):
    """The labels that were chosen, and how probable each label is on its own."""

    labels: tuple[str, ...]
    probabilities: dict[str, float]

    @property
    @override
    def answer(self) -> str:
        return ", ".join(self.labels)

    @property
    @override
    def confidence(self) -> float:
        """The least sure decision: how probable a chosen label is, or how improbable another."""
        sure = [p if n in self.labels else 1 - p for n, p in self.probabilities.items()]
        return min(sure, default=1.0)

    @override
    def record(self, top: int) -> dict[str, Any]:
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        best = {label: round(value, 6) for label, value in ranked[:top]}
        return {"labels": list(self.labels), "probabilities": best}

    @override
    def line(self, top: int) -> str:
        shown = (f"{label} {self.probabilities[label]:.2f}" for label in self.labels)
        return "   ".join(shown) or "(no label)"

    @override
    def columns(self, top: int) -> dict[str, Any]:
        return {"predicted_labels": "|".join(self.labels)}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MultiLabel(AbstractPooledTask):
    """Any number of labels; each has a sigmoid, and one threshold is tuned on validation.

    Args:
        labels: The labels' names, in the order of the head's outputs.
        threshold: Probability from which on a label is chosen, in (0, 1).
        dropout: Of the head, in [0, 1).
        shares: Of train's rows that have each label. A fresh head begins there: from even odds all
            labels at first pull the hidden states the same way, until texts cannot be told apart.
    """

    name: ClassVar[str] = "multi-label"
    form: ClassVar[str] = "multi-labelled"
    better: ClassVar[str] = "micro_f1"
    options: ClassVar[Mapping[str, When]] = {"threshold": "afterwards", "dropout": "training"}

    labels: tuple[str, ...]
    threshold: InnerFraction = 0.5
    dropout: DropRate = 0.1
    shares: tuple[float, ...] = ()

    @property
    @override
    def headline(self) -> Headline:
        return Headline("micro_f1", "f1")

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        rows = dataset.splits["train"]
        counts = Counter(label for row in rows for label in _labels(row))
        # One row is added that has half of each label, so that no odds are infinite.
        shares = [round((counts[label] + 0.5) / (len(rows) + 1), 6) for label in dataset.labels]
        return cls(labels=tuple(dataset.labels), shares=tuple(shares))

    @override
    def build_head(self, width: int) -> nn.Module:
        head = PooledHead(width=width, num_outputs=len(self.labels), dropout=self.dropout)
        if self.shares:
            with torch.no_grad():
                head.out.bias.copy_(torch.tensor(self.shares).logit())
        return head

    @property
    @override
    def num_outputs(self) -> int:
        return len(self.labels)

    @override
    def settings(self) -> dict[str, Any]:
        return {
            "task": self.name, **dataclasses.asdict(self), "labels": list(self.labels),
            "shares": list(self.shares),
        }  # fmt: skip

    @override
    def target(self, example: Example) -> list[float] | None:
        if example.parts is None or "labels" not in example.parts:
            return None
        return [float(label in example.parts["labels"]) for label in self.labels]

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        targets = stacked_targets(batch)
        targets = targets * (1 - label_smoothing) + label_smoothing / 2
        return F.binary_cross_entropy_with_logits(scores, targets)

    @override
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        scores, targets = torch.stack(list(kept)), torch.tensor([row.target for row in rows])
        probabilities = scores.sigmoid().numpy()
        threshold = tune_threshold(probabilities, targets.numpy())
        found = label_scores(targets.numpy(), probabilities >= threshold)
        loss = F.binary_cross_entropy_with_logits(scores.double(), targets.double())
        return {
            "micro_f1": found["micro_f1"], "macro_f1": found["macro_f1"], "loss": float(loss)
        }  # fmt: skip

    @override
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        answers: list[AbstractPrediction] = []
        for scores in kept:
            likely = dict(zip(self.labels, scores.double().sigmoid().tolist(), strict=True))
            chosen = tuple(label for label, value in likely.items() if value >= self.threshold)
            answers.append(LabelSet(chosen, likely))
        return answers

    @override
    def calibrated(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> "MultiLabel":
        targets = torch.tensor([row.target for row in rows])
        probabilities = torch.stack(list(kept)).double().sigmoid()
        threshold = tune_threshold(probabilities.numpy(), targets.numpy())
        return dataclasses.replace(self, threshold=threshold)

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        known, chosen = set(_labels(example)), set(_chosen(prediction))
        return float(len(known & chosen)), float(len(chosen)), float(len(known))

    @override
    def report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        known = [[label in _labels(row) for label in self.labels] for row in examples]
        chosen = [[label in _chosen(p) for label in self.labels] for p in predictions]
        found = label_scores(known, chosen)
        return {key: found[key] for key in ("macro_f1", "subset_accuracy", "hamming_loss")} | {
            "threshold": self.threshold
        }

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        frequent = Counter(_labels(row) for row in train).most_common(1)[0][0]
        found: dict[str, Sequence[Sequence[str]]] = {
            "commonest_set": [frequent] * len(test),
            "tfidf_logreg": words_and_regressions(
                train, test, [_labels(row) for row in train], self.labels
            ),
        }
        return {
            name: [LabelSet(tuple(labels), dict.fromkeys(labels, 1.0)) for labels in answers]
            for name, answers in found.items()
        }

    @override
    def check_known(self, examples: Sequence[Example], source: str) -> None:
        check_labels([_labels(row) for row in examples], self.labels, source)


def _labels(example: Example) -> tuple[str, ...]:
    return tuple((example.parts or {}).get("labels", ()))


def _chosen(prediction: AbstractPrediction) -> tuple[str, ...]:
    return prediction.labels if isinstance(prediction, LabelSet) else ()
