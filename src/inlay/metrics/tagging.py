"""Entities in sequences of tags, and how well they are found."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, final

Scheme = Literal["iob2", "iob1", "bilou", "plain"]
"""How tags mark entities: B- at each start; B- only between neighbours of a type; B-, I-, L- or
E- at ends and U- or S- for single tokens; or no marks at all, as for parts of speech."""

_ONE, _LAST = ("U", "S"), ("L", "E")


@final
class Span(NamedTuple):
    """An entity: its type, its first token, and the token behind its last."""

    type: str
    start: int
    end: int


def detect_scheme(sequences: Iterable[Sequence[str]]) -> Scheme:
    """Tell how the tags of a corpus mark entities.

    Example:
        >>> detect_scheme([["B-city", "I-city", "O"]]), detect_scheme([["NOUN", "O"]])
        ('iob2', 'plain')
    """
    marks: set[str] = set()
    starts_inside = is_iob2 = False
    for tags in sequences:
        before = "O"
        for tag in tags:
            mark, dash, kind = tag.partition("-")
            if tag != "O" and (not dash or len(mark) != 1 or mark not in "BIOLUES" or not kind):
                return "plain"
            marks.add(mark)
            previous = before.partition("-")[2] if before != "O" else ""
            starts_inside |= mark == "I" and kind != previous
            is_iob2 |= mark == "B" and kind != previous
            before = tag
    if marks <= {"O"}:
        return "plain"
    if marks & {*_ONE, *_LAST}:
        return "bilou"
    return "iob1" if starts_inside and not is_iob2 else "iob2"


def read_spans(tags: Sequence[str]) -> tuple[list[Span], int]:
    """Return the entities of a sequence, and how many tags did not follow from the one before.

    Reads every scheme; an I- without a beginning begins an entity.

    Args:
        tags: In any of the schemes that mark entities.
    """
    spans: list[Span] = []
    begun: tuple[str, int] | None = None
    odd = 0
    for number, tag in enumerate([*tags, "O"]):
        mark, _, kind = tag.partition("-")
        goes_on = mark in ("I", *_LAST) and begun is not None and begun[0] == kind
        if begun is not None and not goes_on:
            spans.append(Span(begun[0], begun[1], number))
            begun = None
        if mark in ("B", *_ONE):
            begun = (kind, number)
        elif mark in ("I", *_LAST) and not goes_on:
            odd += 1
            begun = (kind, number)
        if mark in (*_ONE, *_LAST) and begun is not None:
            spans.append(Span(begun[0], begun[1], number + 1))
            begun = None
    return spans, odd


def to_iob2(spans: Iterable[Span], length: int) -> list[str]:
    """Write entities as tags: B- at each start, I- within, O elsewhere."""
    tags = ["O"] * length
    for span in spans:
        tags[span.start] = f"B-{span.type}"
        tags[span.start + 1 : span.end] = [f"I-{span.type}"] * (span.end - span.start - 1)
    return tags


def span_counts(known: Sequence[Span], found: Sequence[Span]) -> tuple[int, int, int]:
    """Return hits, entities found and entities known; a hit has the same type and both ends."""
    return len(set(known) & set(found)), len(found), len(known)


def entity_scores(
    known: Sequence[Sequence[Span]], found: Sequence[Sequence[Span]]
) -> dict[str, Any]:
    """Return strict precision, recall and F1, over all entities and by type.

    Args:
        known: The entities of each row.
        found: Those that were predicted.

    Returns:
        `precision`, `recall`, `macro_f1` (mean over types) and `types`: type -> `precision`,
        `recall`, `f1`, `support`.
    """
    hits: Counter[str] = Counter()
    guessed: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for truth, guess in zip(known, found, strict=True):
        hits.update(span.type for span in set(truth) & set(guess))
        guessed.update(span.type for span in guess)
        there.update(span.type for span in truth)
    types = {
        kind: {
            "precision": _ratio(hits[kind], guessed[kind]),
            "recall": _ratio(hits[kind], there[kind]),
            "f1": _ratio(2 * hits[kind], guessed[kind] + there[kind]),
            "support": there[kind],
        }
        for kind in sorted({*guessed, *there})
    }
    return {
        "precision": _ratio(hits.total(), guessed.total()),
        "recall": _ratio(hits.total(), there.total()),
        "macro_f1": _ratio(sum(own["f1"] for own in types.values()), len(types)),
        "types": types,
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
