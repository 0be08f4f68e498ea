"""Spans of a text as answers: where one lies in a window, its loss, the best, the threshold."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from typing_extensions import override

from inlay.metrics.answers import Units, english_units, neutral_units
from inlay.metrics.words import alphanumeric, is_unspaced
from inlay.tasks.base import AbstractPrediction, Encoded

BEST = 20
"""Spans of an example that compete."""

_SENTENCE = re.compile(r"[^.!?。！？\n]*(?:[.!?](?!\s)[^.!?。！？\n]*)*[.!?。！？]*")  # noqa: RUF001


@final
class Span(NamedTuple):
    """Characters `[start, end)` of a context, and how probable it is that they are the answer."""

    text: str
    start: int
    end: int
    probability: float

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**self._asdict(), "probability": round(self.probability, 6)}


@final
@dataclass(frozen=True, slots=True)
class Answer(AbstractPrediction):
    """The best span of the context, or none, and the spans that competed, the best first.

    Probabilities are a softmax over the 20 best spans of all windows and, where the task knows
    questions without an answer, over having none.

    Args:
        span: The answer; `None` if the context has none.
        spans: The best spans.
        no_answer: How probable it is that there is none; 0 if the task always answers.
    """

    span: Span | None
    spans: tuple[Span, ...]
    no_answer: float

    @property
    @override
    def answer(self) -> str:
        return "" if self.span is None else self.span.text

    @property
    @override
    def confidence(self) -> float:
        return self.no_answer if self.span is None else self.span.probability

    @override
    def record(self, top: int) -> dict[str, Any]:
        return {
            "answer": self.answer,
            "start": None if self.span is None else self.span.start,
            "end": None if self.span is None else self.span.end,
            "probability": round(self.confidence, 6),
            "no_answer": round(self.no_answer, 6),
            "best": [span.record() for span in self.spans[:top]],
        }

    @override
    def line(self, top: int) -> str:
        if self.span is None:
            return f"(no answer)  {self.confidence:.2f}"
        return f"{self.answer}  {self.confidence:.2f}"

    @override
    def columns(self, top: int) -> dict[str, Any]:
        record = self.record(top)
        best = {"best_answers": record["best"]} if top > 1 else {}
        return {
            "predicted_answer": self.answer, "predicted_start": record["start"],
            "predicted_end": record["end"], "probability": record["probability"], **best,
        }  # fmt: skip


def span_loss(scores: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    """Return the mean of the cross entropies of start and end of each row, `(rows,)`.

    Args:
        scores: `(rows, positions, 2)`.
        targets: `(rows, 4)`: start, end, the context's first position and the one after its last.
        label_smoothing: Share of the target that all allowed positions have together, in [0, 1).
    """
    positions = torch.arange(scores.shape[1], device=scores.device)
    first, stop = targets[:, 2:3], targets[:, 3:4]
    allowed = (positions >= first) & (positions < stop) | (positions == 0)
    logs = scores.masked_fill(~allowed.unsqueeze(-1), -torch.inf).log_softmax(1)
    right = logs.gather(1, targets[:, None, :2]).squeeze(1)
    if not label_smoothing:
        return -right.mean(-1)
    spread = logs.masked_fill(~allowed.unsqueeze(-1), 0.0).sum(1) / allowed.sum(1, keepdim=True)
    return -((1 - label_smoothing) * right + label_smoothing * spread).mean(-1)


def fit_threshold(found: Sequence[tuple[float, float, float]]) -> float:
    """Return the threshold with the best mean score; of equal ones that nearest to 0.

    Args:
        found: For each question the log-odds of its best span, the score of answering with it,
            and the score of not answering.
    """
    ordered = sorted(found)
    # Below all, between each two neighbours, above all; a question is answered above it.
    odds = [value for value, _, _ in ordered]
    cuts = [odds[0] - 1, *((a + b) / 2 for a, b in itertools.pairwise(odds)), odds[-1] + 1]
    total = sum(answered for _, answered, _ in ordered)
    best = (round(total, 9), -abs(cuts[0]), cuts[0])
    for number, (value, answered, silent) in enumerate(ordered, start=1):
        total += silent - answered
        if number < len(odds) and odds[number] == value:
            continue  # equal log-odds cannot be told apart
        best = max(best, (round(total, 9), -abs(cuts[number]), cuts[number]))
    return round(best[2], 6)


def units_of(known: Sequence[str]) -> Units:
    """Return what answers are compared by: SQuAD's words, or characters of unspaced scripts."""
    return neutral_units if any(map(is_unspaced, known)) else english_units


def likeliest_sentence(question: str, context: str) -> Span:
    """Return the sentence with most words of a question, of equal ones the shortest."""
    asked = set(alphanumeric(question))
    best = (-1, 0, 0, 0)
    for found in _SENTENCE.finditer(context):
        start, end = trimmed(context, *found.span())
        if start < end:
            shared = len(asked & set(alphanumeric(context[start:end])))
            best = max(best, (shared, start - end, -start, end))
    start, end = -best[2], best[3]
    return Span(context[start:end], start, end, 1.0)


def place_answer(
    offsets: Sequence[tuple[int, int]],
    answers: Sequence[tuple[int, str]],
    *,
    is_first: bool,
    is_last: bool,
) -> tuple[str, tuple[int, int] | None]:
    """Return how an answer lies in a window, and its first and last token if it is whole.

    Of several answers the one that most annotators gave is learnt.

    Args:
        offsets: Characters of each of the window's context tokens.
        answers: Start and text of the known answers.
        is_first: Whether the window holds the context's start.
        is_last: Whether it holds the context's end.

    Returns:
        "none" if there is no answer, "outside", "cut" or "whole".
    """
    if not answers:
        return "none", None
    (start, text), _ = Counter(answers).most_common(1)[0]
    end = start + len(text)
    inside = [at for at, (a, b) in enumerate(offsets) if a < b and a < end and b > start]
    if not inside:
        return "outside", None
    begins = is_first or offsets[0][0] <= start
    ends = is_last or offsets[-1][1] >= end
    return ("whole", (inside[0], inside[-1])) if begins and ends else ("cut", None)


def best_spans(scores: Tensor, row: Encoded, longest: int) -> Iterator[tuple[float, int, int]]:
    """Return log-odds, first and last context token of a window's best spans."""
    first: int = row.extra["first"]
    size = len(row.extra["offsets"])
    if not size:
        return
    scores = scores.double()
    own = scores[first : first + size]
    odds = own[:, 0].unsqueeze(1) + own[:, 1].unsqueeze(0) - scores[0].sum()
    solid = torch.tensor([start < end for start, end in row.extra["offsets"]])
    allowed = torch.ones(size, size, dtype=torch.bool).triu().tril(longest - 1)
    allowed &= solid.unsqueeze(1) & solid.unsqueeze(0)
    best = odds.masked_fill(~allowed, -torch.inf).flatten().topk(min(BEST, size * size))
    for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        if value > -torch.inf:
            yield value, place // size, place % size


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without the white space at its ends."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
