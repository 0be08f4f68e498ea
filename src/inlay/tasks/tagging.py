"""Tagging: a tag for each word of a text, such as entities, slots and parts of speech."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from inlay.data.forms.tagged import joined_places
from inlay.data.rows import Dataset, Example
from inlay.errors import DataError, counted
from inlay.metrics.classification import per_label
from inlay.metrics.headline import Headline
from inlay.metrics.tagging import (
    Scheme,
    Span,
    entity_scores,
    read_spans,
    repair,
    spell,
    type_scores,
)
from inlay.ops.viterbi import best_path
from inlay.tasks.base import AbstractPrediction, AbstractTask, Batch, Encoded
from inlay.tasks.option_types import DropRate, When
from inlay.tasks.pooled import stacked_targets
from inlay.tasks.tag_schemes import check_scheme, describe_repairs, find_scheme
from inlay.tasks.tags import Tags
from inlay.tasks.word_windows import join_windows, read_windows
from inlay.tasks.writing import padding_of

_UNKNOWN = -100
"""Target of a position that is not the first of a word; the loss leaves it out."""


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

    Tags that mark entities (IOB1, IOB2, BILOU, BIOES) are learnt and answered as IOB2, and answers
    are the most probable valid sequence. A text longer than a window is read in windows that
    overlap, each word from the window where it has most around it; a word that the tokenizer makes
    no token of gets the tag that fits its neighbours, "O" or the commonest if several do.

    Args:
        labels: The tags, in the order of the head's outputs: "O" first, or the commonest first.
        scheme: How the data's tags mark entities; `plain` if each stands for itself.
        dropout: Of the head, in [0, 1).
        shares: Of train's words that have each tag. A fresh head begins there: from even odds all
            words at first pull the hidden states towards "O", until they cannot be told apart.
    """

    name: ClassVar[str] = "tagging"
    form: ClassVar[str] = "tagged"
    options: ClassVar[Mapping[str, When]] = {"dropout": "training"}

    labels: tuple[str, ...]
    scheme: Scheme
    dropout: DropRate = 0.1
    shares: tuple[float, ...] = ()

    @property
    def marks_entities(self) -> bool:
        """Whether the tags mark entities."""
        return self.scheme != "plain"

    @property
    @override
    def headline(self) -> Headline:
        return Headline("entity_f1", "f1") if self.marks_entities else Headline("accuracy")

    @property
    @override
    def better(self) -> str:
        return self.headline.name

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        train = dataset.splits["train"]
        scheme = find_scheme(train)
        if scheme == "plain":
            counts = Counter(tag for row in train for tag in _known(row))
            labels = [tag for tag, _ in counts.most_common()]
        else:
            kinds = {kind for row in train for kind, _, _ in read_spans(_known(row), scheme)[0]}
            labels = ["O"]
            for kind in sorted(kinds):
                labels += spell([(kind, 0, 2)], 2, "iob2")
        if len(labels) < 2:
            raise DataError(
                f"every tag in train of {dataset.name!r} is {labels[0]!r}: nothing to learn."
            )
        notes = describe_repairs(dataset.splits, scheme)
        dataset.notes += [note for note in notes if note not in dataset.notes]
        task = cls(labels=tuple(labels), scheme=scheme)
        learnt = Counter(tag for row in train for tag in task.tags_of(row) or ())
        # Half a word of each tag is added, so that none is impossible.
        total = learnt.total() + len(labels) / 2
        shares = tuple(round((learnt[label] + 0.5) / total, 6) for label in labels)
        return dataclasses.replace(task, shares=shares)

    @override
    def settings(self) -> dict[str, Any]:
        return {
            "task": self.name, **dataclasses.asdict(self), "labels": list(self.labels),
            "shares": list(self.shares),
        }  # fmt: skip

    @override
    def build_head(self, width: int) -> nn.Module:
        head = TokenHead(width=width, num_outputs=len(self.labels), dropout=self.dropout)
        if self.shares:
            with torch.no_grad():
                # None is rounded to 0 in more than a million words.
                head.out.bias.copy_(torch.tensor(self.shares).clamp_min(1e-6).log())
        return head

    def tags_of(self, example: Example) -> list[str] | None:
        """Return a row's tags in the scheme that is learnt, or `None` if it has none.

        Raises:
            DataError: If a tag is not of the scheme that the task was made for.
        """
        tags = _known(example)
        if not tags or not self.marks_entities:
            return tags or None
        check_scheme(example, self.scheme)
        return repair(tags, self.scheme)[0]

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        words = [_tokens(example) for example in examples]
        index = {label: number for number, label in enumerate(self.labels)}
        tags = [self.tags_of(example) for example in examples]
        encoded = []
        for window in read_windows(words, tokenizer, max_length=max_length):
            known, target = tags[window.row], None
            if known is not None:
                target = [_UNKNOWN] * len(window.features["input_ids"])
                for word, position in window.places.items():
                    target[position] = index.get(known[word], _UNKNOWN)
            extra = {"places": window.places, "num_words": len(words[window.row]), "tags": known}
            encoded.append(Encoded(window.features, target, window.row, extra))
        return encoded

    @override
    def reading_notes(self, rows: Sequence[Encoded], *, max_length: int) -> list[str] | None:
        windows = Counter(row.row for row in rows)
        long = sum(number > 1 for number in windows.values())
        if not long:
            return []
        return [
            f"longer than max_length {max_length}: {long} of {counted(len(windows), 'text')}, read "
            "in windows that overlap, nothing is cut"
        ]

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        sizes = [row.length for row in rows]
        fills = {"input_ids": padding_of(tokenizer)}
        inputs = {
            key: _padded([row.features[key] for row in rows], fills.get(key, 0))
            for key in rows[0].features
        }
        inputs["attention_mask"] = _padded([[1] * size for size in sizes], 0)
        targets = None
        if all(row.target is not None for row in rows):
            targets = _padded([row.target for row in rows], _UNKNOWN)
        return Batch(inputs, targets)

    @override
    def scores(self, model: nn.Module, head: nn.Module | None, batch: Batch) -> Tensor:
        if head is None:
            raise ValueError("tagging has a head")
        logits: Tensor = head(model(**batch.inputs).last_hidden_state)
        return logits

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        """Return the mean over words; 0 for a batch whose words have no token at all."""
        targets = stacked_targets(batch)
        total = F.cross_entropy(
            scores.flatten(0, 1), targets.flatten(), ignore_index=_UNKNOWN, reduction="sum",
            label_smoothing=label_smoothing,
        )  # fmt: skip
        return total / (targets != _UNKNOWN).sum().clamp_min(1)

    @override
    def keep(self, scores: Tensor, batch: Batch, rows: Sequence[Encoded]) -> list[Tensor]:
        """Return the log-probabilities of each window's words, `(words, tags)`."""
        logs = scores.float().log_softmax(-1)
        return [
            own[list(row.extra["places"].values())] for own, row in zip(logs, rows, strict=True)
        ]

    @override
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        index = {label: number for number, label in enumerate(self.labels)}
        known = {row.row: row.extra["tags"] for row in rows}
        counts, losses = [], []
        hits = words = 0
        joined = join_windows(kept, rows, self._absent())
        for row, (tags, _) in self._decoded(joined).items():
            counts.append(self._counted(known[row], tags))
            hits += sum(one == other for one, other in zip(known[row], tags, strict=True))
            words += len(tags)
            places = [(at, index[tag]) for at, tag in enumerate(known[row]) if tag in index]
            losses += [-float(joined[row][place]) for place in places]
        return {
            **({"entity_f1": self.headline.value(counts)} if self.marks_entities else {}),
            "token_accuracy" if self.marks_entities else "accuracy": hits / max(1, words),
            "loss": sum(losses) / max(1, len(losses)),
        }

    @override
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        decoded = self._decoded(join_windows(kept, rows, self._absent()))
        return [self._answer(row, *decoded[number]) for number, row in enumerate(examples)]

    def _answer(
        self, example: Example, tags: Sequence[str], probabilities: Sequence[float]
    ) -> Tags:
        tokens = _tokens(example)
        given = (example.parts or {}).get("places")
        places = joined_places(tokens) if given is None else given
        return Tags(
            text=" ".join(tokens) if given is None else example.text, tokens=tuple(tokens),
            places=tuple((start, end) for start, end in places), tags=tuple(tags),
            spans=tuple(_spans(tags)) if self.marks_entities else None,
            probabilities=tuple(probabilities), is_raw=given is not None,
        )  # fmt: skip

    def _absent(self) -> Tensor:
        """Return what is known of a word without a token: each tag is as probable.

        By a hair the first is likelier, and to go on with an entity than to begin one, so that of
        answers that fit as well the plainest is taken.
        """
        hairs = [1e-3 * (self.marks_entities and label[0] == "I") for label in self.labels]
        hairs[0] = 2e-3
        return torch.tensor(hairs).log_softmax(-1)

    def _decoded(self, joined: dict[int, Tensor]) -> dict[int, tuple[list[str], list[float]]]:
        """Return the best tags of each text, and the probability of each."""
        goes_on = [label[0] == "I" for label in self.labels]
        # What may follow what in IOB2: I-X only B-X and I-X.
        allowed = torch.tensor(
            [
                [not inside or (a != "O" and a[1:] == b[1:]) for b, inside in zip(
                    self.labels, goes_on, strict=True)]
                for a in self.labels
            ]
        )  # fmt: skip
        may_start = ~torch.tensor(goes_on)
        found = {}
        for row, logs in joined.items():
            path = best_path(logs, allowed, may_start) if self.marks_entities else logs.argmax(-1)
            chosen = logs.gather(1, path.unsqueeze(1)).squeeze(1).exp()
            found[row] = [self.labels[number] for number in path.tolist()], chosen.tolist()
        return found

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
        scores: dict[str, Any] = {}
        if self.marks_entities:
            scores = dict(entity_scores(known, given, "iob2"))
            del scores["f1"]  # the headline
            types = type_scores(known, given, "iob2")
        else:
            pairs = per_label([*chain(*known)], [*chain(*given)])
            types = {str(tag): score for tag, score in pairs.items()}
            whole = sum(list(a) == list(b) for a, b in zip(known, given, strict=True))
            scores["whole_texts_right"] = whole / max(1, len(known))
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
        tables = {"commonest_tag_of_each_word": usual}
        if not self.marks_entities:
            tables["commonest_tag_of_all"] = {}
        found: dict[str, list[AbstractPrediction]] = {name: [] for name in tables}
        for name, table in tables.items():
            for row in test:
                tags = [table.get(token.lower(), self.labels[0]) for token in _tokens(row)]
                if self.marks_entities:
                    tags = repair(tags, "iob2")[0]
                found[name].append(self._answer(row, tags, [1.0] * len(tags)))
        return found

    @override
    def check_known(self, examples: Sequence[Example], source: str) -> None:
        unknown: dict[str, list[Example]] = defaultdict(list)
        for example in examples:
            for tag in sorted(set(self.tags_of(example) or ()) - set(self.labels)):
                unknown[tag].append(example)
        if unknown:
            tag, rows = min(unknown.items())
            raise DataError(
                f"tag {tag!r} occurs in {source} ({len(rows)} rows, first {rows[0].file} line "
                f"{rows[0].line}) but the adapter has not learnt it. It knows "
                f"{', '.join(self.labels[:12])}{' ...' if len(self.labels) > 12 else ''}. Rename "
                "the tag in the file, or leave those rows out."
            )


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Return rows of numbers as one tensor, `(rows, longest)`, filled on the right."""
    parts = [torch.tensor(row, dtype=torch.long) for row in rows]
    return nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)


def _tokens(example: Example) -> list[str]:
    tokens: list[str] = (example.parts or {})["tokens"]
    return tokens


def _known(example: Example) -> list[str]:
    tags: list[str] = (example.parts or {}).get("tags", [])
    return tags


def _spans(tags: Sequence[str]) -> list[Span]:
    return read_spans(tags, "iob2")[0]


def _given(prediction: AbstractPrediction) -> tuple[str, ...]:
    return prediction.tags if isinstance(prediction, Tags) else ()
