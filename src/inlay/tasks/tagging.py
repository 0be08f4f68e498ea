"""Tagging: a tag for each word of a text, such as entities, slots and parts of speech."""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from inlay.data.rows import Dataset, Example
from inlay.errors import ConfigError
from inlay.metrics.headline import Headline
from inlay.metrics.tagging import (
    Scheme,
    Span,
    detect_scheme,
    entity_scores,
    read_spans,
    repair,
    type_scores,
)
from inlay.ops.viterbi import best_path
from inlay.tasks.base import AbstractPrediction, AbstractTask, Batch, Encoded
from inlay.tasks.classification import check_labels
from inlay.tasks.pooled import stacked_targets

_STRIDE = 0.25
"""Share of a window that the next one repeats, where a text is longer than a window."""

_UNKNOWN = -100
"""Target of a position that is not the first of a word; the loss leaves it out."""


@final
@dataclass(frozen=True, slots=True)
class Tags(AbstractPrediction):
    """A tag for each token, the entities they make, and the least sure tag's probability."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    spans: tuple[Span, ...]
    probability: float

    @property
    @override
    def answer(self) -> str:
        return " ".join(self.tags)

    @property
    @override
    def confidence(self) -> float:
        return self.probability

    @override
    def record(self, top: int) -> dict[str, Any]:
        entities = [
            {"type": span[0], "text": self.text(span), "start": span[1], "end": span[2]}
            for span in self.spans
        ]
        return {"tokens": list(self.tokens), "tags": list(self.tags), "entities": entities}

    @override
    def line(self, top: int) -> str:
        if self.spans:
            return "   ".join(f"{self.text(span)} ({span[0]})" for span in self.spans)
        if set(self.tags) <= {"O"}:
            return "(nothing found)"
        return " ".join(f"{t}/{tag}" for t, tag in zip(self.tokens, self.tags, strict=True))

    @override
    def columns(self, top: int) -> dict[str, Any]:
        return {
            "predicted_tags": list(self.tags), "predicted_entities": self.record(top)["entities"]
        }  # fmt: skip

    def text(self, span: Span) -> str:
        """Return the tokens of an entity."""
        return " ".join(self.tokens[span[1] : span[2]])


@final
class TokenHead(nn.Module):
    """One linear map from each position's last hidden state, in float32.

    Parameters: `width * num_outputs + num_outputs`.

    Args:
        width: Channels of the hidden states.
        num_outputs: Channels of the result.
        dropout: Fraction of the channels zeroed in training, in [0, 1).
    """

    def __init__(self, *, width: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, num_outputs)

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """Return `(rows, positions, num_outputs)` from `(rows, positions, width)`."""
        logits: Tensor = self.out(self.dropout(hidden.to(self.out.weight.dtype)))
        return logits


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Tagging(AbstractTask):
    """A tag for each word, read at its first token.

    Tags that mark entities (IOB1, IOB2, BILOU) are learnt as IOB2, and answers are the most
    probable valid sequence. A text longer than a window is read in windows that overlap, each word
    from the window where it has most around it; a word that the tokenizer makes no token of gets
    the tag that fits its neighbours.

    Args:
        labels: The tags, in the order of the head's outputs: "O" first, or the commonest first.
        scheme: How the data's tags mark entities; `plain` if each stands for itself.
        dropout: Of the head, in [0, 1).
    """

    name: ClassVar[str] = "tagging"
    form: ClassVar[str] = "tagged"
    better: ClassVar[str] = "score"

    labels: tuple[str, ...]
    scheme: Scheme
    dropout: float = 0.1

    @property
    def marks_entities(self) -> bool:
        """Whether the tags mark entities."""
        return self.scheme != "plain"

    @property
    @override
    def headline(self) -> Headline:
        return Headline("entity_f1", "f1") if self.marks_entities else Headline("accuracy")

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        sequences = [_known(row) for row in dataset.splits["train"]]
        scheme = detect_scheme(sequences)
        if scheme == "plain":
            counts = Counter(tag for tags in sequences for tag in tags)
            return cls(labels=tuple(tag for tag, _ in counts.most_common()), scheme="plain")
        read = [read_spans(tags, scheme) for tags in sequences]
        odd = sum(repaired for _, repaired in read)
        if odd:
            dataset.notes.append(f"{odd} tags repaired: {scheme} writes them in another way.")
        types = sorted({kind for spans, _ in read for kind, _, _ in spans})
        labels = ("O", *(f"{mark}-{kind}" for kind in types for mark in "BI"))
        return cls(labels=labels, scheme=scheme)

    @override
    def settings(self) -> dict[str, Any]:
        return {"task": self.name, **dataclasses.asdict(self), "labels": list(self.labels)}

    @override
    def build_head(self, width: int) -> nn.Module:
        return TokenHead(width=width, num_outputs=len(self.labels), dropout=self.dropout)

    def tags_of(self, example: Example) -> list[str] | None:
        """Return a row's tags in the scheme that is learnt, or `None` if it has none."""
        tags = _known(example)
        if not tags or not self.marks_entities:
            return tags or None
        return repair(tags, self.scheme)[0]

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        if not examples:
            return []
        if not tokenizer.is_fast:
            raise ConfigError(
                f"{type(tokenizer).__name__} does not tell which word a token belongs to; tagging "
                "needs a base with a fast tokenizer."
            )
        found = tokenizer(
            [_tokens(example) for example in examples], is_split_into_words=True, truncation=True,
            max_length=max_length, stride=int(max_length * _STRIDE),
            return_overflowing_tokens=True,
        )  # fmt: skip
        index = {label: number for number, label in enumerate(self.labels)}
        tags = [self.tags_of(example) for example in examples]
        encoded = []
        seen: dict[int, set[int]] = defaultdict(set)
        for window, row in enumerate(found["overflow_to_sample_mapping"]):
            places = _first_tokens(found.word_ids(window), seen[row])
            seen[row].update(places)
            features = {key: found[key][window] for key in found if key not in _NO_FEATURES}
            known = tags[row]
            target = None
            if known is not None:
                target = [_UNKNOWN] * len(features["input_ids"])
                for word, position in places.items():
                    target[position] = index.get(known[word], _UNKNOWN)
            extra = {"places": places, "num_words": len(_tokens(examples[row])), "tags": known}
            encoded.append(Encoded(features, target, row, extra))
        return encoded

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        features = [row.features for row in rows]
        padded = dict(tokenizer.pad(features, padding_side="right", return_tensors="pt"))
        targets = None
        if all(row.target is not None for row in rows):
            parts = [torch.tensor(row.target) for row in rows]
            targets = nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=_UNKNOWN)
        return Batch(padded, targets)

    @override
    def scores(self, model: nn.Module, head: nn.Module | None, batch: Batch) -> Tensor:
        if head is None:
            raise ValueError("tagging has a head")
        logits: Tensor = head(model(**batch.inputs).last_hidden_state)
        return logits

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        targets = stacked_targets(batch)
        return F.cross_entropy(
            scores.flatten(0, 1), targets.flatten(), ignore_index=_UNKNOWN,
            label_smoothing=label_smoothing,
        )  # fmt: skip

    @override
    def keep(self, scores: Tensor, batch: Batch, rows: Sequence[Encoded]) -> list[Tensor]:
        logs = scores.float().log_softmax(-1)
        return [
            own[list(row.extra["places"].values())] for own, row in zip(logs, rows, strict=True)
        ]

    @override
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        known = {row.row: row.extra["tags"] for row in rows}
        given = {row: self._decoded(logs)[0] for row, logs in self._joined(kept, rows).items()}
        losses = [
            -float(own[number, self.labels.index(row.extra["tags"][word])])
            for own, row in zip(kept, rows, strict=True)
            for number, word in enumerate(row.extra["places"])
            if row.extra["tags"][word] in self.labels
        ]
        counts = [self._counted(known[row], given[row]) for row in given]
        pairs = [pair for row in given for pair in zip(known[row], given[row], strict=True)]
        return {
            "score": self.headline.value(counts),
            "token_accuracy": sum(one == other for one, other in pairs) / len(pairs),
            "loss": sum(losses) / max(1, len(losses)),
        }

    @override
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        joined = self._joined(kept, rows)
        answers: list[AbstractPrediction] = []
        for number, example in enumerate(examples):
            tags, probability = self._decoded(joined[number])
            answers.append(self._answer(_tokens(example), tags, probability))
        return answers

    def _answer(self, tokens: Sequence[str], tags: Sequence[str], probability: float) -> Tags:
        spans = tuple(_spans(tags)) if self.marks_entities else ()
        return Tags(tuple(tokens), tuple(tags), spans, probability)

    def _joined(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[int, Tensor]:
        """Return for each example `(words, tags)` log-probabilities, from the best windows."""
        joined: dict[int, Tensor] = {}
        margins: dict[int, list[int]] = {}
        for own, row in zip(kept, rows, strict=True):
            size = row.extra["num_words"]
            if row.row not in joined:
                joined[row.row] = torch.full((size, len(self.labels)), -math.log(len(self.labels)))
                margins[row.row] = [-1] * size
            for logs, (word, position) in zip(own, row.extra["places"].items(), strict=True):
                margin = min(position, row.length - position)
                if margin > margins[row.row][word]:
                    margins[row.row][word] = margin
                    joined[row.row][word] = logs
        return joined

    def _decoded(self, logs: Tensor) -> tuple[list[str], float]:
        """Return the best tags, and the probability of the least sure one."""
        if self.marks_entities:
            path = best_path(logs, self._allowed(), self._may_start())
        else:
            path = logs.argmax(-1)
        chosen = logs.gather(1, path.unsqueeze(1)).exp()
        return [self.labels[index] for index in path.tolist()], float(chosen.min())

    def _allowed(self) -> Tensor:
        """Return `(tags, tags)`, whether the second may follow the first."""
        return torch.tensor(
            [
                [not b.startswith("I-") or (a[2:] == b[2:] and a != "O") for b in self.labels]
                for a in self.labels
            ]
        )

    def _may_start(self) -> Tensor:
        return torch.tensor([not label.startswith("I-") for label in self.labels])

    def _counted(self, known: Sequence[str], given: Sequence[str]) -> tuple[float, ...]:
        if self.marks_entities:
            truth, guess = _spans(known), _spans(given)
            return float(len(set(truth) & set(guess))), float(len(guess)), float(len(truth))
        return float(sum(a == b for a, b in zip(known, given, strict=True))), float(len(known))

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        return self._counted(self.tags_of(example) or (), _given(prediction))

    @override
    def report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        known = [self.tags_of(example) or [] for example in examples]
        given = [_given(prediction) for prediction in predictions]
        if not self.marks_entities:
            whole = sum(list(a) == list(b) for a, b in zip(known, given, strict=True))
            return {"whole_texts_right": whole / max(1, len(known))}
        scores: dict[str, Any] = dict(entity_scores(known, given, "iob2"))
        del scores["f1"]  # the headline
        types = type_scores(known, given, "iob2")
        there = [kind for kind in types if types[kind].support]
        weakest = min(there, key=lambda kind: (types[kind].f1, kind), default=None)
        return {
            **scores, "types": {kind: dataclasses.asdict(types[kind]) for kind in sorted(types)},
            "weakest_label": weakest,
            "weakest_f1": types[weakest].f1 if weakest is not None else None,
        }  # fmt: skip

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        """Answer with each word's commonest tag in train, and with the commonest tag alone."""
        by_word: dict[str, Counter[str]] = defaultdict(Counter)
        for row in train:
            for token, tag in zip(_tokens(row), self.tags_of(row) or (), strict=True):
                by_word[token.lower()][tag] += 1
        usual = {word: counts.most_common(1)[0][0] for word, counts in by_word.items()}
        common = self.labels[0]
        found = {"each_words_commonest_tag": usual}
        if not self.marks_entities:
            found["commonest_tag"] = {}
        return {
            name: [
                self._answer(tokens, [tags.get(token.lower(), common) for token in tokens], 1.0)
                for tokens in map(_tokens, test)
            ]
            for name, tags in found.items()
        }

    @override
    def check_known(self, examples: Sequence[Example], source: str) -> None:
        check_labels([self.tags_of(row) or [] for row in examples], self.labels, source)


_NO_FEATURES = ("attention_mask", "overflow_to_sample_mapping")


def _first_tokens(word_ids: Sequence[int | None], seen: set[int]) -> dict[int, int]:
    """Return word -> its first position in a window.

    Where a window begins within a word that an earlier window has whole, that word is left out.
    """
    places: dict[int, int] = {}
    for position, word in enumerate(word_ids):
        if word is not None and word not in places:
            places[word] = position
    first = next(iter(places), None)
    if first is not None and first in seen:
        del places[first]
    return places


def _tokens(example: Example) -> list[str]:
    tokens: list[str] = (example.parts or {})["tokens"]
    return tokens


def _known(example: Example) -> list[str]:
    return list((example.parts or {}).get("tags", ()))


def _spans(tags: Sequence[str]) -> list[Span]:
    return read_spans(tags, "iob2")[0]


def _given(prediction: AbstractPrediction) -> tuple[str, ...]:
    return prediction.tags if isinstance(prediction, Tags) else ()
