"""Extractive question answering: the part of a text that answers a question, or that none does."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.data.rows import Dataset, Example
from inlay.errors import ConfigError, counted
from inlay.metrics.answers import (
    answer_f1,
    answer_scores,
    exact_match,
)
from inlay.metrics.headline import Headline
from inlay.tasks.base import AbstractPrediction, AbstractTask, Batch, Encoded
from inlay.tasks.option_types import Count, DropRate, Number, When
from inlay.tasks.padding import padded
from inlay.tasks.pooled import stacked_targets
from inlay.tasks.spans import (
    BEST,
    Answer,
    Span,
    best_spans,
    fit_threshold,
    likeliest_sentence,
    place_answer,
    span_loss,
    trimmed,
    units_of,
)
from inlay.tasks.tagging import TokenHead

_SHORTEST = 24
"""Tokens of the shortest window in which half a question, the context and an overlap have room."""

_NO_FEATURES = ("attention_mask", "overflow_to_sample_mapping", "offset_mapping")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionAnswering(AbstractTask):
    """The span of a context that answers a question (SQuAD, arXiv:1606.05250 and 1806.03822).

    A position's start and end scores are softmaxed over the context and the first token, which
    stands for "no answer in this window". A context longer than a window is read in windows that
    overlap by a quarter. A span's score is start plus end minus those of its window's first token:
    the log-odds against no answer, which compare across windows; the best span of all windows
    must exceed the threshold.

    Args:
        has_unanswerable: Whether train has questions without an answer; else one is always given.
        threshold: Log-odds above which the best span is the answer, fitted on validation.
        max_answer_tokens: Tokens of an answer, at most.
        dropout: Of the head, in [0, 1).
    """

    name: ClassVar[str] = "question-answering"
    form: ClassVar[str] = "spans"
    better: ClassVar[str] = "f1"
    options: ClassVar[Mapping[str, When]] = {
        "threshold": "afterwards",
        "max_answer_tokens": "always",
        "dropout": "training",
    }

    has_unanswerable: bool
    threshold: Number = 0.0
    max_answer_tokens: Count = 30
    dropout: DropRate = 0.1

    @property
    @override
    def headline(self) -> Headline:
        return Headline("f1")

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        empty = {
            split: sum(not _known(row) for row in rows) for split, rows in dataset.splits.items()
        }
        other = empty["validation"] + empty["test"]
        if other and not empty["train"]:
            dataset.notes.append(
                f"{other} questions of validation and test have no answer, but none of train: an "
                "answer is always given, and counts as wrong for them."
            )
        return cls(has_unanswerable=empty["train"] > 0)

    @override
    def settings(self) -> dict[str, Any]:
        return {"task": self.name, **dataclasses.asdict(self)}

    @override
    def check_options(self, given: Collection[str]) -> None:
        if "threshold" in given and not self.has_unanswerable:
            raise ConfigError(
                f"task option threshold={self.threshold}: this adapter has learnt no question "
                "without an answer, so it always gives one. Leave it out."
            )

    @override
    def build_head(self, width: int) -> nn.Module:
        return TokenHead(width=width, num_outputs=2, dropout=self.dropout)

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        """Turn each example into one or more windows; questions are cut to half a window.

        Raises:
            ConfigError: If windows are too short, or the tokenizer does not tell characters.
        """
        if not examples:
            return []
        _check(tokenizer, max_length)
        texts = [row.text for row in examples]
        questions = _cut_questions(texts, tokenizer, max_length // 2)
        found = tokenizer(
            questions, [row.pair or "" for row in examples], truncation="only_second",
            max_length=max_length, stride=max_length // 4, return_overflowing_tokens=True,
            return_offsets_mapping=True, verbose=False,
        )  # fmt: skip
        owners: list[int] = found["overflow_to_sample_mapping"]
        encoded = []
        for window, row in enumerate(owners):
            places = [at for at, part in enumerate(found.sequence_ids(window)) if part == 1]
            first, stop = (places[0], places[-1] + 1) if places else (0, 0)
            offsets = [tuple(pair) for pair in found["offset_mapping"][window][first:stop]]
            is_first = window == 0 or owners[window - 1] != row
            is_last = window + 1 == len(owners) or owners[window + 1] != row
            answers = _known(examples[row])
            state, at = place_answer(offsets, answers, is_first=is_first, is_last=is_last)
            features = {key: found[key][window] for key in found if key not in _NO_FEATURES}
            start, end = (0, 0) if at is None else (first + at[0], first + at[1])
            extra = {
                "context": examples[row].pair or "", "offsets": offsets, "first": first,
                "answers": [text for _, text in answers], "state": state,
                "is_question_cut": questions[row] != texts[row], "is_only": is_first and is_last,
            }  # fmt: skip
            encoded.append(Encoded(features, (start, end, first, stop), row, extra))
        return encoded

    @override
    def reading_notes(self, rows: Sequence[Encoded], *, max_length: int) -> list[str]:
        examples = {row.row for row in rows}
        long = {row.row for row in rows if not row.extra["is_only"]}
        cut = {row.row for row in rows if row.extra["is_question_cut"]}
        partly = sum(row.extra["state"] == "cut" for row in rows)
        has = {row.row for row in rows if row.extra["answers"]}
        lost = has - {row.row for row in rows if row.extra["state"] == "whole"}
        notes = []
        if long:
            notes.append(
                f"{len(long)} of {counted(len(examples), 'context')} longer than a window of "
                f"{max_length} tokens: {counted(len(rows) - len(examples), 'more window')}, "
                "overlapping by "
                f"{max_length // 4}"
            )
        if partly:
            notes.append(
                f"{counted(partly, 'window')} cut through the answer: taken as having none"
            )
        if lost:
            notes.append(
                f"{counted(len(lost), 'answer')} whole in no window: the question still counts"
            )
        if cut:
            notes.append(
                f"{counted(len(cut), 'question')} cut to half of a window ({max_length // 2} "
                "tokens)"
            )
        return notes

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        inputs = padded([row.features for row in rows], tokenizer, side="right")
        return Batch(inputs, torch.tensor([row.target for row in rows]))

    @override
    def scores(self, model: nn.Module, head: nn.Module | None, batch: Batch) -> Tensor:
        if head is None:
            raise ValueError("question answering has a head")
        scores: Tensor = head(model(**batch.inputs).last_hidden_state)
        return scores

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        """Return the mean cross entropy of start and end over context and first token."""
        return span_loss(scores, stacked_targets(batch), label_smoothing=label_smoothing).mean()

    @override
    def keep(self, scores: Tensor, batch: Batch, rows: Sequence[Encoded]) -> list[Tensor]:
        return [own[: row.length] for own, row in zip(scores, rows, strict=True)]

    @override
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        """Return F1 and exact match at the threshold that suits these rows best, and the loss."""
        fitted = self.calibrated(kept, rows)
        losses = [
            span_loss(own.double().unsqueeze(0), torch.tensor([row.target]), label_smoothing=0.0)
            for own, row in zip(kept, rows, strict=True)
        ]
        f1, exact = [], []
        for own in _by_example(kept, rows).values():
            known: list[str] = own[0][1].extra["answers"]
            answer, units = fitted._answer(own).answer, units_of(known)
            f1.append(answer_f1(known, answer, units=units))
            exact.append(exact_match(known, answer, units=units))
        return {
            "f1": sum(f1) / len(f1), "exact_match": sum(exact) / len(exact),
            "loss": float(torch.cat(losses).mean()),
        }  # fmt: skip

    @override
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        windows = _by_example(kept, rows)
        return [self._answer(windows[number]) for number in range(len(examples))]

    def _answer(self, windows: "Sequence[tuple[Tensor, Encoded]]") -> Answer:
        """Return the answer that the windows of one example give together."""
        ranked = self._ranked(windows)
        odds = [score for score, _, _ in ranked]
        none = self.threshold if self.has_unanswerable else -torch.inf
        logits = torch.tensor([*odds, none], dtype=torch.float64)
        likely = logits.softmax(-1).tolist() if ranked else [1.0]
        context: str = windows[0][1].extra["context"]
        spans = tuple(
            Span(context[start:end], start, end, share)
            for (_, start, end), share in zip(ranked, likely[:-1], strict=True)
        )
        is_none = not odds or (self.has_unanswerable and odds[0] <= self.threshold)
        return Answer(None if is_none else spans[0], spans, likely[-1])

    def _ranked(self, windows: "Sequence[tuple[Tensor, Encoded]]") -> list[tuple[float, int, int]]:
        """Return log-odds, start and end in characters of the best spans, the best first."""
        found: dict[tuple[int, int], float] = {}
        for scores, row in windows:
            for odds, first, last in best_spans(scores, row, self.max_answer_tokens):
                offsets = row.extra["offsets"]
                at = trimmed(row.extra["context"], offsets[first][0], offsets[last][1])
                if at[0] < at[1]:
                    found[at] = max(odds, found.get(at, odds))
        # Ties go to the earlier and shorter span, whatever the order of windows.
        best = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:BEST]
        return [(odds, *at) for at, odds in best]

    @override
    def calibrated(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> "QuestionAnswering":
        if not self.has_unanswerable:
            return self
        found = []
        for windows in _by_example(kept, rows).values():
            row = windows[0][1]
            known: list[str] = row.extra["answers"]
            ranked = self._ranked(windows)
            if ranked:
                odds, start, end = ranked[0]
                answer = row.extra["context"][start:end]
                answered = answer_f1(known, answer, units=units_of(known))
                found.append((odds, answered, float(not known)))
        if len({empty for _, _, empty in found}) < 2:
            return self  # one kind of question only: nothing to tell apart
        return dataclasses.replace(self, threshold=fit_threshold(found))

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        known = [text for _, text in _known(example)]
        return answer_f1(known, prediction.answer, units=units_of(known)), 1.0

    @override
    def report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        """Return exact match, and F1 by whether the question has an answer, with its rows.

        `no_answer_f1` is the F1 of the decision that there is none; what has no rows is left out.
        """
        known = [[text for _, text in _known(row)] for row in examples]
        given = [prediction.answer for prediction in predictions]
        exact = [
            exact_match(own, answer, units=units_of(own))
            for own, answer in zip(known, given, strict=True)
        ]
        f1 = [self.counts(*pair)[0] for pair in zip(examples, predictions, strict=True)]
        answerable = [value for own, value in zip(known, f1, strict=True) if own]
        num_empty = len(known) - len(answerable)
        report: dict[str, Any] = {"exact_match": sum(exact) / max(1, len(exact))}
        if answerable:
            report["answerable_f1"] = sum(answerable) / len(answerable)
        if num_empty:
            report["no_answer_f1"] = answer_scores(known, given)["no_answer_f1"]
        return {**report, "n_answerable": len(answerable), "n_no_answer": num_empty}

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        """Answer nothing, where that can be right, and the sentence most like the question."""
        found: dict[str, list[AbstractPrediction]] = {}
        if any(not _known(row) for row in (*train, *test)):
            found["no_answer"] = [Answer(None, (), 1.0) for _ in test]
        sentences = (likeliest_sentence(row.text, row.pair or "") for row in test)
        found["likeliest_sentence"] = [Answer(span, (span,), 0.0) for span in sentences]
        return found


def _known(example: Example) -> list[tuple[int, str]]:
    return [(start, text) for start, text in (example.parts or {}).get("answers", ())]


def _check(tokenizer: Any, max_length: int) -> None:
    if not tokenizer.is_fast:
        raise ConfigError(
            f"{type(tokenizer).__name__} does not tell which characters a token stands for; "
            "question answering needs a base with a fast tokenizer."
        )
    if max_length < _SHORTEST:
        raise ConfigError(
            f"max_length={max_length} leaves no room for question and context; question answering "
            f"needs at least {_SHORTEST} tokens."
        )


def _cut_questions(questions: Sequence[str], tokenizer: Any, most: int) -> list[str]:
    """Return questions of at most so many tokens."""
    found = tokenizer(
        list(questions), add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    return [
        text if len(offsets) <= most else text[: offsets[most - 1][1]]
        for text, offsets in zip(questions, found["offset_mapping"], strict=True)
    ]


def _by_example(
    kept: Sequence[Tensor], rows: Sequence[Encoded]
) -> Mapping[int, list[tuple[Tensor, Encoded]]]:
    """Return the windows of each example."""
    windows: dict[int, list[tuple[Tensor, Encoded]]] = {}
    for own, row in zip(kept, rows, strict=True):
        windows.setdefault(row.row, []).append((own, row))
    return windows
