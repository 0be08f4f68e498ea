"""Text classification: one label for a text or a pair of texts."""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from inlay.data.rows import Dataset, Example
from inlay.errors import ConfigError, DataError, did_you_mean
from inlay.metrics.classification import (
    accuracy,
    calibration_error,
    confusions,
    macro_f1,
    matthews,
    out_of_scope_scores,
    per_label,
)
from inlay.metrics.headline import Headline
from inlay.tasks.base import AbstractPrediction, Batch, Encoded
from inlay.tasks.baselines import majority, words_and_regression
from inlay.tasks.option_types import DropRate, When
from inlay.tasks.pooled import AbstractPooledTask, stacked_targets


@final
@dataclass(frozen=True, slots=True)
class Prediction(AbstractPrediction):
    """The label that was chosen, and how probable each label is."""

    label: str
    probabilities: dict[str, float]

    @property
    @override
    def answer(self) -> str:
        return self.label

    @property
    @override
    def confidence(self) -> float:
        return self.probabilities[self.label]

    @override
    def record(self, top: int) -> dict[str, Any]:
        return {"label": self.label, "probabilities": self.best(top)}

    @override
    def line(self, top: int) -> str:
        return "   ".join(f"{label} {value:.2f}" for label, value in self.best(top).items())

    @override
    def columns(self, top: int) -> dict[str, Any]:
        numbers = ["", *(f"_{number}" for number in range(2, top + 1))]
        best = zip(numbers, self.best(top).items(), strict=False)
        return {
            f"{name}{number}": value
            for number, pair in best
            for name, value in zip(("predicted_label", "probability"), pair, strict=True)
        }

    def best(self, top: int) -> dict[str, float]:
        """Return the most probable labels, the best first, rounded."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return {label: round(value, 6) for label, value in ranked[:top]}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TextClassification(AbstractPooledTask):
    """One of several labels for a text or a pair of texts.

    Args:
        labels: The classes' names, in the order of the head's outputs.
        temperature: What the logits are divided by, so that probabilities are honest (Guo et al.
            2017, arXiv:1706.04599).
        dropout: Of the head, in [0, 1).
        out_of_scope: The label that means that no other fits; reports then tell how well such
            rows are found, and how well the others are answered.
    """

    name: ClassVar[str] = "text-classification"
    form: ClassVar[str] = "labelled"
    better: ClassVar[str] = "accuracy"
    options: ClassVar[Mapping[str, When]] = {"out_of_scope": "reports", "dropout": "training"}

    labels: tuple[str, ...]
    temperature: float = 1.0
    dropout: DropRate = 0.1
    out_of_scope: str | None = None

    @property
    @override
    def headline(self) -> Headline:
        return Headline("accuracy")

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        return cls(labels=tuple(dataset.labels))

    @property
    @override
    def num_outputs(self) -> int:
        return len(self.labels)

    @override
    def settings(self) -> dict[str, Any]:
        return {"task": self.name, **dataclasses.asdict(self), "labels": list(self.labels)}

    @override
    def check_options(self, given: Collection[str]) -> None:
        if self.out_of_scope is not None and self.out_of_scope not in self.labels:
            shown = ", ".join(self.labels[:8]) + (", ..." if len(self.labels) > 8 else "")
            raise ConfigError(
                f"task option out_of_scope={self.out_of_scope!r} is none of the labels: {shown}."
                f"{did_you_mean(self.out_of_scope, self.labels)}"
            )

    @override
    def target(self, example: Example) -> int | None:
        return self.labels.index(example.label) if example.label in self.labels else None

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        return F.cross_entropy(scores, stacked_targets(batch), label_smoothing=label_smoothing)

    @override
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        scores, targets = torch.stack(list(kept)), torch.tensor([row.target for row in rows])
        chosen, known = scores.argmax(-1).tolist(), targets.tolist()
        return {
            "accuracy": accuracy(known, chosen),
            "macro_f1": macro_f1(known, chosen),
            "loss": float(F.cross_entropy(scores.double(), targets)),
        }

    @override
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        answers: list[AbstractPrediction] = []
        for scores in kept:
            row = (scores.double() / self.temperature).softmax(-1).tolist()
            label = self.labels[max(range(len(row)), key=row.__getitem__)]
            answers.append(Prediction(label, dict(zip(self.labels, row, strict=True))))
        return answers

    @override
    def calibrated(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> "TextClassification":
        targets = torch.tensor([row.target for row in rows])
        temperature = fit_temperature(torch.stack(list(kept)), targets)
        return dataclasses.replace(self, temperature=temperature)

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        return float(example.label == prediction.answer), 1.0

    @override
    def report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        known = [row.label for row in examples]
        chosen = [prediction.answer for prediction in predictions]
        correct = [k == c for k, c in zip(known, chosen, strict=True)]
        scores = per_label(known, chosen)
        weakest = min(
            (label for label in scores if scores[label].support),
            key=lambda label: (scores[label].f1, str(label)),
            default=None,
        )
        mistakes = confusions(known, chosen)
        return {
            "macro_f1": macro_f1(known, chosen),
            "matthews": matthews(known, chosen),
            "calibration_error": calibration_error([p.confidence for p in predictions], correct),
            "log_loss": _log_loss(known, predictions),
            **self._out_of_scope(known, predictions),
            "weakest_label": weakest,
            "weakest_f1": scores[weakest].f1 if weakest is not None else None,
            "weakest_taken_for": next((p for k, p, _ in mistakes if k == weakest), None),
        }

    def _out_of_scope(
        self, known: Sequence[str], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        label = self.out_of_scope
        if label is None:
            return {}
        likely = [
            answer.probabilities.get(label, 0.0) if isinstance(answer, Prediction) else 0.0
            for answer in predictions
        ]
        return out_of_scope_scores(known, [p.answer for p in predictions], likely, label)

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        found = {
            "majority": majority(train, test),
            "tfidf_logreg": words_and_regression(train, test),
        }
        return {
            name: [Prediction(label, {label: 1.0}) for label in labels]
            for name, labels in found.items()
        }

    @override
    def check_known(self, examples: Sequence[Example], source: str) -> None:
        check_labels([[row.label] for row in examples], self.labels, source)


def check_labels(found: Sequence[Sequence[str]], known: Sequence[str], source: str) -> None:
    """Refuse rows with labels that an adapter does not know.

    Args:
        found: The labels of each row.
        known: Those of the adapter.
        source: Where the rows are from, for the message.

    Raises:
        DataError: If there is one.
    """
    unknown = Counter(label for labels in found for label in labels if label not in set(known))
    if unknown:
        raise DataError(
            f"label {min(unknown)!r} occurs in {source} ({unknown.total()} rows with unknown "
            f"labels) but the adapter knows only {len(known)} others. Rename it with --label-map, "
            "or leave the rows out."
        )


def _log_loss(known: Sequence[str], predictions: Sequence[AbstractPrediction]) -> float:
    likely = [
        p.probabilities.get(k, 0.0)
        for k, p in zip(known, predictions, strict=True)
        if isinstance(p, Prediction)
    ]
    if not likely:
        return 0.0
    return -sum(math.log(max(value, 1e-12)) for value in likely) / len(likely)


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
