"""Multiple choice: which of several answers suits a question."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from inlay.data.rows import Dataset, Example
from inlay.metrics.headline import Headline
from inlay.tasks.base import AbstractPrediction, Batch, Encoded
from inlay.tasks.baselines import most_shared_words
from inlay.tasks.option_types import DropRate, When
from inlay.tasks.padding import padded
from inlay.tasks.pooled import AbstractPooledTask, encode_texts, stacked_targets


@final
@dataclass(frozen=True, slots=True)
class Choice(AbstractPrediction):
    """The answer that was chosen, its number from 0, and how probable each answer is."""

    text: str
    index: int
    probabilities: tuple[float, ...]

    @property
    @override
    def answer(self) -> str:
        return self.text

    @property
    @override
    def confidence(self) -> float:
        return self.probabilities[self.index]

    @override
    def record(self, top: int) -> dict[str, Any]:
        return {
            "choice": self.text, "index": self.index,
            "probabilities": [round(value, 6) for value in self.probabilities],
        }  # fmt: skip

    @override
    def columns(self, top: int) -> dict[str, Any]:
        return {"predicted_choice": self.index, "probability": round(self.confidence, 6)}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MultipleChoice(AbstractPooledTask):
    """One of several answers; each is read with the question and scored by one head.

    A row of the model is a question with one of its answers, so rows of a batch are as many as
    there are answers; the loss is that of a softmax over the answers of one question.

    Args:
        dropout: Of the head, in [0, 1).
    """

    name: ClassVar[str] = "multiple-choice"
    form: ClassVar[str] = "choices"
    better: ClassVar[str] = "accuracy"
    options: ClassVar[Mapping[str, When]] = {"dropout": "training"}

    dropout: DropRate = 0.1

    @property
    @override
    def headline(self) -> Headline:
        return Headline("accuracy")

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        return cls()

    @property
    @override
    def num_outputs(self) -> int:
        return 1

    @override
    def settings(self) -> dict[str, Any]:
        return {"task": self.name, **dataclasses.asdict(self)}

    @override
    def target(self, example: Example) -> int | None:
        return (example.parts or {}).get("index")

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        pairs = [_beside(row, choice) for row in examples for choice in _choices(row)]
        features = iter(encode_texts(pairs, tokenizer, max_length=max_length))
        encoded = []
        for number, row in enumerate(examples):
            own = [next(features) for _ in _choices(row)]
            longest = max(own, key=lambda choice: len(choice["input_ids"]))
            encoded.append(Encoded(longest, self.target(row), number, {"choices": own}))
        return encoded

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        features = [choice for row in rows for choice in row.extra["choices"]]
        inputs = padded(features, tokenizer)
        targets = [-1 if row.target is None else row.target for row in rows]
        sizes = [len(row.extra["choices"]) for row in rows]
        return Batch(inputs, torch.tensor([targets, sizes]))

    @override
    def scores(self, model: Any, head: Any, batch: Batch) -> Tensor:
        """Return `(rows, most choices)`; a row with fewer choices has minus infinity behind."""
        flat = AbstractPooledTask.scores(self, model, head, batch).float().squeeze(-1)
        sizes = stacked_targets(batch)[1].tolist()
        own = torch.split(flat, sizes)
        return torch.nn.utils.rnn.pad_sequence(
            list(own), batch_first=True, padding_value=float("-inf")
        )

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        # Smoothing would give missing choices, whose logit is minus infinity, a share.
        return F.cross_entropy(scores, stacked_targets(batch)[0])

    @override
    def keep(self, scores: Tensor, batch: Batch, rows: Sequence[Encoded]) -> list[Tensor]:
        sizes = (len(row.extra["choices"]) for row in rows)
        return [own[:size] for own, size in zip(scores, sizes, strict=True)]

    @override
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        losses = [
            -float(own.double().log_softmax(-1)[row.target])
            for own, row in zip(kept, rows, strict=True)
        ]
        right = [int(own.argmax()) == row.target for own, row in zip(kept, rows, strict=True)]
        return {"accuracy": sum(right) / len(right), "loss": sum(losses) / len(losses)}

    @override
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        answers: list[AbstractPrediction] = []
        for own, example in zip(kept, examples, strict=True):
            index = int(own.argmax())
            likely = tuple(own.double().softmax(-1).tolist())
            answers.append(Choice(_choices(example)[index], index, likely))
        return answers

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        chosen = prediction.index if isinstance(prediction, Choice) else -1
        return float(chosen == self.target(example)), 1.0

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        found = {
            "first_choice": [0 for _ in test],
            "shared_words": [most_shared_words(_asked(row), _choices(row)) for row in test],
        }
        return {
            name: [_sure(row, index) for row, index in zip(test, chosen, strict=True)]
            for name, chosen in found.items()
        }


def _beside(row: Example, choice: str) -> Example:
    """Return the two texts that are read: question and choice, or context and both of them."""
    if row.pair is None:
        return row._replace(pair=choice)
    return row._replace(text=row.pair, pair=f"{row.text} {choice}")


def _asked(row: Example) -> str:
    return row.text if row.pair is None else f"{row.pair} {row.text}"


def _choices(example: Example) -> list[str]:
    choices: list[str] = (example.parts or {})["choices"]
    return choices


def _sure(example: Example, index: int) -> Choice:
    choices = _choices(example)
    likely = tuple(float(number == index) for number in range(len(choices)))
    return Choice(choices[index], index, likely)
