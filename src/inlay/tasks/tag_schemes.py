"""The scheme of a data set's tags, and what is said of tags that it writes in another way."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from inlay.data.rows import Example
from inlay.errors import DataError
from inlay.metrics.tagging import Scheme, detect_scheme, read_spans, spell

_MARKED = re.compile("[BIELSU]-.+", re.DOTALL)
_NAMES = {"iob2": "IOB2 (BIO)", "iob1": "IOB1", "bioes": "BIOES", "bilou": "BILOU"}
_LETTERS = {"iob2": "BI", "iob1": "BI", "bioes": "BIES", "bilou": "BILU"}


def find_scheme(rows: Sequence[Example]) -> Scheme:
    """Return the scheme in which the rows of train are tagged.

    Raises:
        DataError: If most tags mark entities and some do not, so that no scheme fits.
    """
    scheme = detect_scheme(_tags(row) for row in rows)
    if scheme != "plain":
        return scheme
    counts = Counter(tag for row in rows for tag in _tags(row) if tag != "O")
    odd = {tag: count for tag, count in counts.items() if not _MARKED.fullmatch(tag)}
    if 2 * sum(odd.values()) >= counts.total():
        return "plain"
    tags = odd or counts  # without odd ones, the letters are of several schemes
    tag = next(iter(tags))
    row = next(row for row in rows if tag in _tags(row))
    raise DataError(
        f"most tags mark entities, as B-city does, but the tags together are of no scheme: "
        f"{', '.join(map(repr, [*tags][:5]))} ({sum(tags.values())} words, first {row.file} line "
        f"{row.line}). A scheme has O and B- I- (IOB), or B- I- E- S- (BIOES), or B- I- L- U- "
        "(BILOU). Correct the tags."
    )


def check_scheme(row: Example, scheme: Scheme) -> None:
    """Refuse a row with a tag that is not of a scheme.

    Raises:
        DataError: If there is one.
    """
    letters = _LETTERS.get(scheme)
    if letters is None:
        return
    known = re.compile(rf"O|[{letters}](-.+)?", re.DOTALL)
    for number, tag in enumerate(_tags(row)):
        if not known.fullmatch(tag):
            allowed = ", ".join(f"{letter}-" for letter in letters)
            raise DataError(
                f"{row.file} line {row.line}: tag {tag!r} of token {number} is not of the scheme "
                f"of train, {_NAMES[scheme]}, which has O and {allowed} with a type. Correct the "
                "tag, or leave the row out."
            )


def describe_repairs(splits: Mapping[str, Sequence[Example]], scheme: Scheme) -> list[str]:
    """Return what is to be known of the tags of all splits, in sentences.

    Raises:
        DataError: If a tag is not of the scheme; train had none such.
    """
    if scheme == "plain":
        return []
    repaired = total = 0
    first = ""
    for row in (row for rows in splits.values() for row in rows):
        tags = _tags(row)
        check_scheme(row, scheme)
        spans, count = read_spans(tags, scheme)
        repaired, total = repaired + count, total + len(tags)
        if count and not first:
            right = spell(spans, len(tags), scheme)
            found = next(pair for pair in zip(tags, right, strict=True) if pair[0] != pair[1])
            first = f"{row.file} line {row.line}: {found[0]} read as {found[1]}"
    notes = []
    if scheme != "iob2":
        notes.append(f"tags are {_NAMES[scheme]}: learnt and answered as IOB2.")
    if repaired:
        what = "1 tag" if repaired == 1 else f"{repaired:,} tags"
        notes.append(f"{what} of {total:,} repaired to valid {_NAMES[scheme]} (first {first}).")
    return notes


def _tags(row: Example) -> list[str]:
    tags: list[str] = (row.parts or {}).get("tags", [])
    return tags
