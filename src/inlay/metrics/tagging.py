"""Entity spans in sequences of tags, and how many of them are right.

A span is `(type, start, end)` with `end` exclusive. Tags are `O` or a letter and a type, `B-PER`;
the letter alone stands for an entity of the type `""`. Schemes:

- `iob2` (BIO): `B` begins an entity, `I` goes on.
- `iob1`: `I` begins too; `B` only where the entity before has the same type and touches.
- `bioes`: as `iob2`, and `E` ends an entity, `S` is one of a single token.
- `bilou`: the same with `L` for `E` and `U` for `S`.
- `plain`: no letters, as for parts of speech; every tag but `O` is a span of one token.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Literal, get_args

from inlay.errors import ConfigError, DataError, did_you_mean
from inlay.metrics.classification import LabelScore, accuracy

Span = tuple[str, int, int]
Scheme = Literal["iob2", "iob1", "bilou", "bioes", "plain"]

_TAG = re.compile(r"([BIELSU])(?:-(.+))?", re.DOTALL)
_OUTSIDE = ("O", "")
# The letters of each scheme, and what they are in `bioes`.
_LETTERS = {
    "iob2": {"B": "B", "I": "I"},
    "iob1": {"B": "B", "I": "I"},
    "bioes": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "bilou": {"B": "B", "I": "I", "L": "E", "U": "S"},
}


def detect_scheme(sequences: Iterable[Sequence[str]]) -> Scheme:
    """Tell the scheme that a corpus of tags is written in.

    `iob1` is told from `iob2` by an `I` that begins an entity while no `B` stands where `iob1` has
    none; so a corpus of `iob2` with a few mistakes is still `iob2`. Tags that fit none of the
    others are `plain`, and a corpus of nothing but `O` is `iob2`.
    """
    letters, some_i_begins, some_b_is_alone = set(), False, False
    for tags in sequences:
        before = _OUTSIDE
        for tag in tags:
            letter, kind = parsed = _parse(tag)
            letters.add(letter)
            touches = before[0] != "O" and before[1] == kind
            some_i_begins |= letter == "I" and not touches
            some_b_is_alone |= letter == "B" and not touches
            before = parsed
    letters.discard("O")
    if letters <= {"B", "I"}:
        return "iob1" if some_i_begins and not some_b_is_alone else "iob2"
    if letters <= set(_LETTERS["bioes"]):
        return "bioes"
    return "bilou" if letters <= set(_LETTERS["bilou"]) else "plain"


def read_spans(tags: Sequence[str], scheme: Scheme | None = None) -> tuple[list[Span], int]:
    """Return the entity spans of one sequence, and how many tags had to be repaired.

    Nothing tagged is dropped: a tag that goes on from nothing begins an entity, and one that is not
    closed ends where its type does. This is how CoNLL-2000's `conlleval` reads. The count is of
    tags that the scheme would have written in another way for the same spans.

    Args:
        tags: One tag for each token.
        scheme: How they are written; by default told from these tags alone, which one sequence may
            be too short for.

    Raises:
        DataError: If a tag is none of the scheme's.
        ConfigError: If the scheme is not known.
    """
    scheme = detect_scheme([tags]) if scheme is None else scheme
    spans = _read(tags, scheme)
    written = spell(spans, len(tags), scheme)
    return spans, sum(tag != right for tag, right in zip(tags, written, strict=True))


def spell(spans: Iterable[Span], length: int, scheme: Scheme) -> list[str]:
    """Write spans that do not overlap as the tags of `length` tokens."""
    _check_scheme(scheme)
    tags, before = ["O"] * length, ("", -1)
    for kind, start, end in sorted(spans, key=lambda span: span[1]):
        if scheme == "plain":
            tags[start:end] = [kind] * (end - start)
            continue
        letters = ["B"] + ["I"] * (end - start - 1)
        if scheme == "iob1" and before != (kind, start):
            letters[0] = "I"
        elif scheme in ("bioes", "bilou"):
            single, last = ("S", "E") if scheme == "bioes" else ("U", "L")
            letters[-1] = single if end - start == 1 else last
        tags[start:end] = [f"{letter}-{kind}" if kind else letter for letter in letters]
        before = (kind, end)
    return tags


def repair(tags: Sequence[str], scheme: Scheme) -> tuple[list[str], int]:
    """Return valid `iob2` tags for the same entities, and how many tags had to be repaired.

    Plain tags come back as they are: they have no letters that could be wrong.
    """
    spans, count = read_spans(tags, scheme)
    return spell(spans, len(tags), "plain" if scheme == "plain" else "iob2"), count


def type_scores(
    known: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme | None = None,
) -> dict[str, LabelScore]:
    """Score each entity type that is known or predicted, in order of first occurrence.

    An entity is right if its type, its start and its end are. Reading is strict, as seqeval's
    strict mode: an entity with a tag that the scheme writes in another way counts as none. To
    forgive that, give the predicted tags to `repair` first.

    Args:
        known: The tags of each row.
        predicted: The same rows as predicted.
        scheme: How both are written; by default told from all of them.

    Raises:
        ValueError: If the rows or their tokens do not pair up.
        DataError: If a tag is none of the scheme's.
    """
    scheme = detect_scheme([*known, *predicted]) if scheme is None else scheme
    right, support, chosen = Counter[str](), Counter[str](), Counter[str]()
    for known_tags, predicted_tags in zip(known, predicted, strict=True):
        if len(known_tags) != len(predicted_tags):
            raise ValueError(
                f"A row has {len(known_tags)} known tags but {len(predicted_tags)} predicted ones; "
                f"give one of each for every token."
            )
        theirs, ours = _strict(known_tags, scheme), _strict(predicted_tags, scheme)
        support.update(kind for kind, _, _ in theirs)
        chosen.update(kind for kind, _, _ in ours)
        right.update(kind for kind, _, _ in set(theirs) & set(ours))
    return {
        kind: LabelScore.of(right=right[kind], chosen=chosen[kind], support=support[kind])
        for kind in dict.fromkeys([*support, *chosen])
    }


def entity_scores(
    known: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme | None = None,
) -> dict[str, float]:
    """Return `precision`, `recall`, `f1` over all entities, `macro_f1` and `token_accuracy`.

    Entities are read as by `type_scores`, which has the arguments and errors too. `macro_f1` is the
    mean over the types that are known or predicted. All are 0 where there is nothing to count.
    """
    scheme = detect_scheme([*known, *predicted]) if scheme is None else scheme
    types = type_scores(known, predicted, scheme)
    chosen = sum(len(_strict(tags, scheme)) for tags in predicted)
    support = sum(score.support for score in types.values())
    # Recall times support is a whole number of entities.
    right = sum(round(score.recall * score.support) for score in types.values())
    total = LabelScore.of(right=right, chosen=chosen, support=support)
    return {
        "precision": total.precision,
        "recall": total.recall,
        "f1": total.f1,
        "macro_f1": sum(score.f1 for score in types.values()) / len(types) if types else 0.0,
        "token_accuracy": accuracy(list(chain(*known)), list(chain(*predicted))),
    }


def _strict(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """Return the spans whose every tag is written as the scheme writes it."""
    spans = _read(tags, scheme)
    right = spell(spans, len(tags), scheme)
    return [span for span in spans if list(tags[span[1] : span[2]]) == right[span[1] : span[2]]]


def _read(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    _check_scheme(scheme)
    if scheme == "plain":
        return [(tag, at, at + 1) for at, tag in enumerate(tags) if tag != "O"]
    spans: list[Span] = []
    is_open = False
    for at, tag in enumerate(tags):
        letter, kind = _parse(tag)
        if letter == "O":
            is_open = False
            continue
        if letter not in _LETTERS[scheme]:
            allowed = ", ".join(f"{known}-" for known in _LETTERS[scheme])
            raise DataError(
                f"{tag!r} at token {at} is no tag of the scheme {scheme!r}, which has O and "
                f"{allowed} with a type. Correct the tag, or name the scheme it is written in."
            )
        letter = _LETTERS[scheme][letter]
        if is_open and letter in "IE" and spans[-1][0] == kind:
            spans[-1] = (kind, spans[-1][1], at + 1)
        else:
            spans.append((kind, at, at + 1))
        is_open = letter in "BI"
    return spans


def _parse(tag: str) -> tuple[str, str]:
    """Split a tag into its letter and type; the letter is empty where the tag has none."""
    match = _TAG.fullmatch(tag)
    if match is None:
        return _OUTSIDE if tag == "O" else ("", tag)
    return match[1], match[2] or ""


def _check_scheme(scheme: str) -> None:
    known = get_args(Scheme)
    if scheme not in known:
        raise ConfigError(
            f"There is no tagging scheme {scheme!r}.{did_you_mean(scheme, known)} "
            f"Schemes: {', '.join(known)}."
        )
