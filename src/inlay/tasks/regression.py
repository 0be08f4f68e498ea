"""Regression: a number for a text or a pair of texts, such as how alike the two are."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from inlay.data.rows import Dataset, Example
from inlay.metrics.headline import Headline
from inlay.metrics.regression import mae, mse, pearson, spearman
from inlay.tasks.base import AbstractPrediction, Batch, Encoded
from inlay.tasks.baselines import words_and_ridge
from inlay.tasks.option_types import DropRate, When
from inlay.tasks.pooled import AbstractPooledTask, stacked_targets


@final
@dataclass(frozen=True, slots=True)
class Number(AbstractPrediction):
    """A number; there is no measure of how sure it is."""

    value: float

    @property
    @override
    def answer(self) -> str:
        return f"{self.value:.4g}"

    @property
    @override
    def confidence(self) -> float:
        return 1.0

    @override
    def record(self, top: int) -> dict[str, Any]:
        return {"score": round(self.value, 6)}

    @override
    def line(self, top: int) -> str:
        return self.answer

    @override
    def columns(self, top: int) -> dict[str, Any]:
        return {"predicted_score": round(self.value, 6)}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Regression(AbstractPooledTask):
    """A number; the head learns it in units of train's standard deviation around train's mean.

    The headline is the share of the variance that is explained, R^2, in the form of a mean over
    rows: `1 - (y - p)^2 / variance` with the variance of train, so that rows add up.

    Args:
        mean: Of train's numbers.
        deviation: Their standard deviation, above 0.
        dropout: Of the head, in [0, 1).
    """

    name: ClassVar[str] = "regression"
    form: ClassVar[str] = "scored"
    better: ClassVar[str] = "pearson"
    options: ClassVar[Mapping[str, When]] = {"dropout": "training"}

    mean: float
    deviation: float
    dropout: DropRate = 0.1

    @property
    @override
    def headline(self) -> Headline:
        return Headline("r_squared")

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        numbers = [_score(row) for row in dataset.splits["train"]]
        mean = math.fsum(numbers) / len(numbers)
        variance = math.fsum((number - mean) ** 2 for number in numbers) / len(numbers)
        return cls(mean=mean, deviation=math.sqrt(variance) or 1.0)

    @property
    @override
    def num_outputs(self) -> int:
        return 1

    @override
    def settings(self) -> dict[str, Any]:
        return {"task": self.name, **dataclasses.asdict(self)}

    @override
    def target(self, example: Example) -> float | None:
        known = example.parts is not None and "score" in example.parts
        return (_score(example) - self.mean) / self.deviation if known else None

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        return F.mse_loss(scores.squeeze(-1), stacked_targets(batch).to(scores.dtype))

    @override
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        given = torch.cat(list(kept)).double().tolist()
        known = [float(row.target) for row in rows]
        return {
            "pearson": pearson(known, given), "spearman": spearman(known, given),
            "loss": mse(known, given),
        }  # fmt: skip

    @override
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        return [Number(float(value) * self.deviation + self.mean) for value in kept]

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        error = (_score(example) - _value(prediction)) / self.deviation
        return 1 - error**2, 1.0

    @override
    def report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        known = [_score(row) for row in examples]
        given = [_value(prediction) for prediction in predictions]
        return {
            "pearson": pearson(known, given), "spearman": spearman(known, given),
            "mse": mse(known, given), "mae": mae(known, given),
        }  # fmt: skip

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        numbers = words_and_ridge(train, test, [_score(row) for row in train])
        return {
            "mean": [Number(self.mean) for _ in test],
            "tfidf_ridge": [Number(number) for number in numbers],
        }


def _score(example: Example) -> float:
    return float((example.parts or {})["score"])


def _value(prediction: AbstractPrediction) -> float:
    return prediction.value if isinstance(prediction, Number) else math.nan
