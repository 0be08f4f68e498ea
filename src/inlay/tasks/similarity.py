"""Similarity: texts and descriptions of labels in one space, so that new labels can be asked."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from inlay.data.rows import SPLITS, Dataset, Example
from inlay.errors import ConfigError
from inlay.metrics.headline import Headline
from inlay.tasks.base import AbstractPrediction, AbstractTask, Batch, Encoded
from inlay.tasks.baselines import nearest_descriptions
from inlay.tasks.classification import Prediction, check_labels
from inlay.tasks.option_types import Positive, When
from inlay.tasks.padding import padded
from inlay.tasks.pooled import encode_texts, known_targets, mean_pooled, stacked_targets

_STEEPEST = 100.0
"""Factor of the cosines, at most, as in CLIP (Radford et al. 2021, section 2.5)."""

_LABELS_AT_ONCE = 64
"""Descriptions that go through the base together in evaluation."""


@final
class CosineHead(nn.Module):
    """Cosines of mean pooled hidden states, times a learned factor. One parameter.

    Args:
        factor: What the cosines are multiplied by at the start, 1 over the temperature.
    """

    def __init__(self, *, factor: float) -> None:
        super().__init__()
        self.log_factor = nn.Parameter(torch.tensor(math.log(factor)))

    def points(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return points of length 1, `(texts, width)`.

        Args:
            hidden: `(texts, positions, width)`.
            mask: `(texts, positions)`, true where there is no padding.
        """
        return F.normalize(mean_pooled(hidden.to(self.log_factor.dtype), mask), dim=-1)

    @override
    def forward(self, texts: Tensor, labels: Tensor) -> Tensor:
        """Return `(texts, labels)` from points, `(texts, width)` and `(labels, width)`."""
        return texts @ labels.T * self.log_factor.exp().clamp_max(_STEEPEST)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Similarity(AbstractTask):
    """The label whose description lies nearest to a text; labels may be new.

    Texts and descriptions go through the same adapted base. Training is a softmax over the
    descriptions of all labels of train (a contrastive loss, van den Oord et al. 2018,
    arXiv:1807.03748, with labels in the place of samples). Labels that only other splits have
    take no part in it, and are asked in evaluation with all others.

    Args:
        labels: The labels, those of train first.
        num_trained: How many of them train has.
        descriptions: What stands for each label; its name in words if empty.
        factor: Of the cosines at the start, above 0 and at most 100.
        points: Where the labels lie, `(labels, width)`, if all batches of one evaluation share
            them; no setting.
    """

    name: ClassVar[str] = "similarity"
    form: ClassVar[str] = "labelled"
    better: ClassVar[str] = "accuracy"
    options: ClassVar[Mapping[str, When]] = {"factor": "training"}

    labels: tuple[str, ...]
    num_trained: int
    descriptions: tuple[str, ...] = ()
    factor: Positive = 20.0
    points: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check that there are labels, each once and with a description.

        Raises:
            ConfigError: If there are none, one stands twice or has no name, there is not one
                description for each, or the factor is out of range.
        """
        if not self.labels:
            raise ConfigError("similarity needs at least one label.")
        twice = [label for label, count in Counter(self.labels).items() if count > 1]
        if twice:
            raise ConfigError(f"label {twice[0]!r} is given twice; give each label once.")
        if not all(label.strip() for label in self.labels):
            raise ConfigError("a label has no name; leave it out, or give it one.")
        if not 0 < self.factor <= _STEEPEST:
            raise ConfigError(
                f"factor={self.factor!r} of similarity; give a number above 0, at most "
                f"{_STEEPEST:g}."
            )
        if self.descriptions and len(self.descriptions) != len(self.labels):
            raise ConfigError(
                f"{len(self.descriptions)} descriptions for {len(self.labels)} labels; give one "
                "for each."
            )

    @property
    @override
    def headline(self) -> Headline:
        return Headline("accuracy")

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        seen = list(dataset.labels)
        there = {row.label for split in SPLITS for row in dataset.splits[split]}
        new = sorted(there - set(seen))
        if new:
            dataset.notes.append(
                f"labels that are not in train, {len(new)}, are asked by their names: "
                f"{', '.join(new[:5])}{' ...' if len(new) > 5 else '.'}"
            )
        return cls(labels=(*seen, *new), num_trained=len(seen))

    def with_labels(self, labels: Sequence[str], descriptions: Sequence[str] = ()) -> Self:
        """Return the task that asks other labels.

        Args:
            labels: Any names, the trained ones or new ones.
            descriptions: What stands for each; its name in words if none is given.

        Raises:
            ConfigError: If there is no label, one stands twice, or there is not one description
                for each; or if one text is given in the place of several.
        """
        for given in (labels, descriptions):
            if isinstance(given, str):
                raise ConfigError(f"labels and descriptions are lists of texts, not {given!r}.")
        return dataclasses.replace(
            self, labels=tuple(labels), descriptions=tuple(descriptions), num_trained=0,
            points=None,
        )  # fmt: skip

    def described(self) -> list[str]:
        """Return what stands for each label."""
        return list(self.descriptions) or [in_words(label) for label in self.labels]

    @override
    def settings(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "labels": list(self.labels),
            "num_trained": self.num_trained,
            "descriptions": list(self.descriptions),
            "factor": self.factor,
        }

    @override
    def build_head(self, width: int) -> nn.Module:
        return CosineHead(factor=self.factor)

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        features = encode_texts(examples, tokenizer, max_length=max_length)
        index = {label: number for number, label in enumerate(self.labels)}
        described = [Example(text, None, "", "", 0) for text in self.described()]
        # One list for all rows: the descriptions are turned into tokens once, not for each batch.
        extra = {"described": encode_texts(described, tokenizer, max_length=max_length)}
        return [
            Encoded(features[row], index.get(example.label), row, extra)
            for row, example in enumerate(examples)
        ]

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        """Pad the rows and, apart from them, the descriptions of all labels."""
        texts = padded([row.features for row in rows], tokenizer)
        if self.points is not None:
            return Batch(texts, known_targets(rows))
        described = padded(rows[0].extra["described"], tokenizer)
        return Batch(texts, known_targets(rows), described)

    @override
    def scores(self, model: nn.Module, head: nn.Module | None, batch: Batch) -> Tensor:
        texts = _points(model, head, batch.inputs)
        labels = _points(model, head, batch.shared) if self.points is None else self.points
        scores: Tensor = _cosines(head)(texts, labels)
        return scores

    @override
    def for_evaluation(
        self, model: nn.Module, head: nn.Module | None, rows: Sequence[Encoded], tokenizer: Any
    ) -> Self:
        """Return the task with the points of all labels."""
        described = rows[0].extra["described"]
        device = next(model.parameters()).device
        order = sorted(range(len(described)), key=lambda i: -len(described[i]["input_ids"]))
        parts = []
        for start in range(0, len(order), _LABELS_AT_ONCE):
            own = [described[i] for i in order[start : start + _LABELS_AT_ONCE]]
            batch = Batch(padded(own, tokenizer), None).to(device)
            parts.append(_points(model, head, batch.inputs))
        back = torch.tensor(order, device=device).argsort()
        return dataclasses.replace(self, points=torch.cat(parts)[back])

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        return F.cross_entropy(
            scores[:, : self.num_trained], stacked_targets(batch), label_smoothing=label_smoothing
        )

    @override
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        scores, targets = torch.stack(list(kept)), torch.tensor([row.target for row in rows])
        right = (scores.argmax(-1) == targets).double().mean()
        return {
            "accuracy": float(right), "loss": float(F.cross_entropy(scores.double(), targets))
        }  # fmt: skip

    @override
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        answers: list[AbstractPrediction] = []
        for scores in kept:
            likely = scores.double().softmax(-1).tolist()
            label = self.labels[max(range(len(likely)), key=likely.__getitem__)]
            answers.append(Prediction(label, dict(zip(self.labels, likely, strict=True))))
        return answers

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        return float(example.label == prediction.answer), 1.0

    @override
    def report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        ranks = [
            sum(p >= prediction.probabilities[row.label] for p in prediction.probabilities.values())
            for row, prediction in zip(examples, predictions, strict=True)
            if isinstance(prediction, Prediction) and row.label in prediction.probabilities
        ]
        found: dict[str, Any] = {
            f"in_the_first_{k}": sum(rank <= k for rank in ranks) / max(1, len(ranks))
            for k in (3, 10)
        }
        new = set(self.labels[self.num_trained :])
        rights = [
            row.label == prediction.answer
            for row, prediction in zip(examples, predictions, strict=True)
            if row.label in new
        ]
        if rights and self.num_trained:
            found["accuracy_on_new_labels"] = sum(rights) / len(rights)
        return found

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        nearest = nearest_descriptions([row.text for row in test], self.described())
        return {
            "shared_words_tfidf": [
                Prediction(self.labels[index], {self.labels[index]: 1.0}) for index in nearest
            ]
        }

    @override
    def check_known(self, examples: Sequence[Example], source: str) -> None:
        check_labels([[row.label] for row in examples], self.labels, source)


def _cosines(head: nn.Module | None) -> CosineHead:
    if not isinstance(head, CosineHead):
        raise ValueError("similarity has a head of cosines")
    return head


def _points(model: nn.Module, head: nn.Module | None, inputs: dict[str, Tensor]) -> Tensor:
    hidden = model(**inputs).last_hidden_state
    return _cosines(head).points(hidden, inputs["attention_mask"])


def in_words(label: str) -> str:
    """Return a label's name in words.

    Example:
        >>> in_words("card_arrival"), in_words("PlayMusic")
        ('card arrival', 'play music')
    """
    words = "".join(
        f" {sign.lower()}" if sign.isupper() and before.islower() else sign
        for before, sign in zip(" " + label, label, strict=False)
    )
    return " ".join(words.replace("_", " ").replace("-", " ").split()).lower()
