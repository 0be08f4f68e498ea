"""A caller's inputs as examples without a target."""

from collections import Counter
from collections.abc import Sequence

from inlay.data.forms.base import Given, Place, by_role, text_of
from inlay.data.forms.registry import FORMS, LABELLED
from inlay.data.rows import Example
from inlay.data.table import MISSING
from inlay.errors import DataError


def given_examples(
    inputs: Sequence[Given], form: str, places: Sequence[Place] | None = None
) -> list[Example]:
    """Turn a caller's inputs into examples without a target.

    Args:
        inputs: Each as a text, as several in the order of the roles, or as a mapping from role to
            value.
        form: The form of rows that the task reads.
        places: Where each stood, for messages; its number from 0 if not given.

    Raises:
        DataError: If one cannot be used.
    """
    if places is None:
        places = [Place("", number) for number in range(len(inputs))]
    if form == LABELLED:
        return _texts(inputs, places)
    rows = []
    reader = FORMS[form]
    for place, given in zip(places, inputs, strict=True):
        counts: Counter[str] = Counter()
        row = reader.example(reader.cells_of(given), place, counts, has_target=False)
        if isinstance(row, str):
            names = [role.name for role in reader.roles if not role.is_target]
            second = f" (--pair gives the {names[1]})" if names[1:] == ["context"] else ""
            raise DataError(
                f"{called(*place)}: {row}. It is read as {', '.join(names)}: give them by "
                f"name{second}, or rows of a file with --input, JSON Lines with --input -."
            )
        if counts:
            raise DataError(
                f"{called(*place)} would not be read as it was given: {next(iter(counts))}. Give "
                "it so yourself, or rows of a file with --input."
            )
        rows.append(row)
    return rows


def called(file: str, line: int) -> str:
    """Return what a message calls an input by where it stood.

    Example:
        >>> called("a.csv", 2), called("", 0)
        ('a.csv line 2', 'input 0')
    """
    return f"{file} line {line}" if file else f"input {line}"


def _texts(inputs: Sequence[Given], places: Sequence[Place]) -> list[Example]:
    """Read texts, or pairs of texts, but not both in one call."""
    rows = []
    for place, given in zip(places, inputs, strict=True):
        cells = by_role(given, ("text", "pair"))
        text, fault = text_of(cells.get("text", MISSING), "text")
        pair, other = None, None
        if "pair" in cells:
            pair, other = text_of(cells["pair"], "second text")
        if fault or other:
            raise DataError(f"{called(*place)}: {fault or other}; give a text or a pair of texts.")
        rows.append(Example(text, pair, "", place.file, place.line))
    is_pair = [row.pair is not None for row in rows]
    if any(is_pair) and not all(is_pair):
        one, other = (called(*places[is_pair.index(kind)]) for kind in (True, False))
        raise DataError(f"{one} is a pair and {other} is not; give texts only, or pairs only.")
    return rows
