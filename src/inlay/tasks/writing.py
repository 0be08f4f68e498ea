"""What the tasks share that write text or measure how probable it is."""

import math
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from inlay.data.rows import Example
from inlay.tasks.base import AbstractPrediction, AbstractTask, Batch, Encoded

IGNORED = -100
"""Target of a token that is not learnt."""

FinishReason = Literal["stop", "max_new_tokens", "positions"]
"""Why a text ends: the base wrote a sign of the end; or it was cut off where it may have no more
tokens, or where the base has no more positions."""


@final
@dataclass(frozen=True, slots=True)
class Written(AbstractPrediction):
    """A text that was written, and how probable the known one is.

    Args:
        text: What was written; empty if only the known text was measured.
        nll: Negative log likelihood of the known text, in nats; 0 if there is none.
        tokens: Its tokens.
        others: More texts that were drawn for the same row.
        finish_reason: Why the text ends; `None` if none was written token after token.
    """

    text: str
    nll: float = 0.0
    tokens: int = 0
    others: tuple[str, ...] = ()
    finish_reason: FinishReason | None = None

    @property
    @override
    def answer(self) -> str:
        return self.text

    @property
    @override
    def confidence(self) -> float:
        """The geometric mean of the known tokens' probabilities; 1 if there are none."""
        return math.exp(-self.nll / self.tokens) if self.tokens else 1.0

    @override
    def record(self, top: int) -> dict[str, Any]:
        reason = {} if self.finish_reason is None else {"finish_reason": self.finish_reason}
        return {"predicted_text": self.text, **reason}

    @override
    def line(self, top: int) -> str:
        return self.text

    @override
    def columns(self, top: int) -> dict[str, Any]:
        return self.record(top)


class AbstractWritingTask(AbstractTask):
    """A task on a base with a language model's head, which is frozen and part of the base."""

    @property
    @abstractmethod
    def writes_for_report(self) -> bool:
        """Whether a report needs texts to be written, which takes much longer than scores."""

    def writers_of_others(self) -> "Sequence[AbstractWritingTask]":
        """Return what writes the further texts that a report needs of each row."""
        return ()

    @abstractmethod
    def encode_prompts(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        """Turn examples without a known text into one row each."""

    @abstractmethod
    def write(
        self, model: Any, rows: Sequence[Encoded], tokenizer: Any, *, device: Any
    ) -> list[Written]:
        """Write a text for each row that `encode_prompts` gave."""

    def finish_notes(self, predictions: Sequence[AbstractPrediction]) -> list[str]:
        """Return what is to be said of answers that were cut off."""
        return []

    @override
    def build_head(self, width: int) -> None:
        return None

    @override
    def keep(self, scores: Tensor, batch: Batch, rows: Sequence[Encoded]) -> list[Tensor]:
        """Return for each row the negative log likelihood, the tokens, and how many are right."""
        scores, targets = self.aligned(scores, batch)
        is_known = targets != IGNORED
        losses = F.cross_entropy(
            scores.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        ).view(targets.shape)
        right = (scores.argmax(-1) == targets) & is_known
        return list(torch.stack([losses.sum(1), is_known.sum(1), right.sum(1)], dim=1))

    def aligned(self, scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return scores and targets such that a score stands where its target does."""
        if batch.targets is None:
            raise ValueError("a batch without targets has no loss")
        return scores, batch.targets

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        scores, targets = self.aligned(scores, batch)
        # The sum over tokens by their number; a batch of nothing known has no loss, not NaN.
        total = F.cross_entropy(
            scores.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum",
            label_smoothing=label_smoothing,
        )  # fmt: skip
        return total / (targets != IGNORED).sum().clamp_min(1)

    @override
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        nll, tokens, right = torch.stack(list(kept)).double().sum(0).tolist()
        loss = nll / max(1.0, tokens)
        name = self.headline.name
        headline = {name: self.headline.value([(nll, tokens)])} if name == "perplexity" else {}
        return {
            "token_probability": math.exp(-loss), **headline,
            "token_accuracy": right / max(1.0, tokens), "loss": loss,
        }  # fmt: skip

    @override
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        sums: dict[int, Tensor] = defaultdict(lambda: torch.zeros(3))
        for own, row in zip(kept, rows, strict=True):
            sums[row.row] = sums[row.row] + own
        totals = [sums[number].tolist() for number in range(len(examples))]
        return [Written("", nll, int(tokens)) for nll, tokens, _ in totals]


def too_long_to_write(rows: Sequence[Encoded], what: str, max_new_tokens: int) -> list[str]:
    """Say how many known texts have more tokens than an answer may have.

    Args:
        rows: Encoded with their targets.
        what: Their name, in the plural.
        max_new_tokens: Tokens of an answer, at most.
    """
    # The sign at the end of a target may be left out.
    lengths = [sum(token != IGNORED for token in row.target or ()) - 1 for row in rows]
    number = sum(length > max_new_tokens for length in lengths)
    if not number:
        return []
    return [
        f"{number} of {len(rows)} {what} longer than max_new_tokens {max_new_tokens}, where an "
        "answer ends"
    ]


def pad(rows: Sequence[Sequence[int]], value: int, *, on_left: bool = False) -> Tensor:
    """Return rows of numbers as one tensor, `(rows, longest)`."""
    longest = max(map(len, rows), default=0)
    filled = [
        [value] * (longest - len(row)) + list(row)
        if on_left
        else list(row) + [value] * (longest - len(row))
        for row in rows
    ]
    return torch.tensor(filled, dtype=torch.long)


def padding_of(tokenizer: Any) -> int:
    """Return the number that rows are padded with; the end sign where there is none of its own.

    What it is does not matter, as padding is masked, but it must be a token that the base has.
    """
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def unigram(
    train: Sequence[Encoded], test: Sequence[Encoded], num_tokens: int, num_examples: int
) -> list[AbstractPrediction]:
    """Measure the known texts by how frequent their tokens are in train, add-one smoothed.

    Args:
        train: Encoded rows, whose targets are counted.
        test: Encoded rows to be measured.
        num_tokens: Of the vocabulary.
        num_examples: Of test.
    """
    counts = Counter(token for row in train for token in row.target or () if token != IGNORED)
    total = counts.total() + num_tokens
    nll: Mapping[int, list[float]] = defaultdict(list)
    for row in test:
        nll[row.row] += [
            -math.log((counts[token] + 1) / total) for token in row.target or () if token != IGNORED
        ]
    return [Written("", sum(nll[n]), len(nll[n])) for n in range(num_examples)]
