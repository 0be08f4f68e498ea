"""What a form of rows must supply: its columns, and an example from a row's cells."""

import ast
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, final

from inlay.data.rows import Example
from inlay.data.splits import text_key
from inlay.data.table import MISSING, Table
from inlay.errors import DataError

_TEXT = r"""(?:'(?:[^'\\\n]|\\[\\'"nrt])*'|"(?:[^"\\\n]|\\[\\'"nrt])*")"""
_PYTHON_TEXT = re.compile(_TEXT)
_PYTHON_LIST = re.compile(rf"\[\s*{_TEXT}(?:\s*,\s*{_TEXT})*\s*\]")

Given = str | tuple[str, ...] | Sequence[str] | Mapping[str, Any]
"""One input as a caller gives it: a text, several by the order of roles, or each by its role."""


@final
class Role(NamedTuple):
    """What a column is for.

    Args:
        name: The word for it in options and messages.
        columns: Simplified names that such a column has, the best first.
        is_needed: Whether a data set without it is refused.
        is_target: Whether it is what is learnt, and absent when a prediction is asked for.
    """

    name: str
    columns: tuple[str, ...]
    is_needed: bool = True
    is_target: bool = False


@final
class Place(NamedTuple):
    """Where a row stood."""

    file: str
    line: int


class AbstractForm(ABC):
    """A form of rows; it holds no state, so the class is its own single value."""

    name: ClassVar[str]
    """The word for it in files."""

    roles: ClassVar[tuple[Role, ...]]
    """Its columns, inputs first and in the order in which a caller gives them."""

    @abstractmethod
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        """Tell whether a table is of this form, without being told so.

        Args:
            table: The rows.
            columns: Role -> column, as found by name; every needed role is there.
        """

    @abstractmethod
    def example(
        self, cells: Mapping[str, Any], place: Place, counts: Counter[str], *, has_target: bool
    ) -> Example | str:
        """Return the example in a row's cells, or the reason why there is none.

        Args:
            cells: Role -> value; `MISSING` or `None` where the row has none.
            place: Where the row stood.
            counts: Takes a count of everything that was mended, by what was done.
            has_target: Whether the target is needed; a prediction has none.
        """

    def classes(self, row: Example) -> Sequence[str]:
        """Return the row's classes: its label, its labels, the types of its tags."""
        return ()

    def stratum(self, row: Example) -> str:
        """Return what splits that are made here keep in proportion."""
        return ""

    def group(self, row: Example) -> str:
        """Return what rows of one split share; splits that are made here keep them together."""
        return text_key(row.text, row.pair)

    def cells_of(self, given: Given) -> dict[str, Any]:
        """Return a caller's input by role.

        Raises:
            DataError: If it has a role that the form does not have, or too many parts.
        """
        return by_role(given, [role.name for role in self.roles if not role.is_target])

    def asked(self, row: Example) -> dict[str, Any]:
        """Return what a row asks, by role."""
        return text_and_pair(row)


def by_role(given: Given, roles: Sequence[str]) -> dict[str, Any]:
    """Return a caller's input by role.

    Args:
        given: The input.
        roles: What it may have, in the order in which a caller gives them.

    Raises:
        DataError: If it has a role that is none of these, or too many parts.
    """
    if isinstance(given, Mapping):
        unknown = [key for key in given if key not in roles]
        if unknown:
            raise DataError(
                f"an input has a part {unknown[0]!r}; this task reads {', '.join(roles)}."
            )
        return dict(given)
    parts = (given,) if isinstance(given, str) else tuple(given)
    if len(parts) > len(roles):
        raise DataError(f"an input has {len(parts)} parts; this task reads {', '.join(roles)}.")
    return dict(zip(roles, parts, strict=False))


def text_and_pair(row: Example) -> dict[str, Any]:
    """Return a row's text, and its second one if it has one, by role."""
    return {"text": row.text} if row.pair is None else {"text": row.text, "pair": row.pair}


def text_of(value: Any, what: str) -> tuple[str, str | None]:
    """Return a text and the reason why it cannot be used, if there is one.

    Args:
        value: A cell.
        what: What to call it in the reason.
    """
    if value is MISSING:
        return "", f"{what} is missing"
    if value is None:
        return "", f"{what} is null"
    if not isinstance(value, str):
        return "", f"{what} is {kind_of(value)}, not a text"
    if not value.strip():
        return "", f"{what} is empty"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "", f"{what} has half of a surrogate pair"
    return value, None


def parsed(value: Any) -> Any:
    """Return the list or object that a cell of a table writes as text; anything else as it is.

    JSON is read, and a list of texts as Python prints it, which is what pandas writes.

    Example:
        >>> parsed('["a", "b"]'), parsed("['a', 'b']"), parsed("[sic] a text")
        (['a', 'b'], ['a', 'b'], '[sic] a text')
    """
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        # Not all that Python would read: it joins texts that have no comma between them.
        if not _PYTHON_LIST.fullmatch(value.strip()):
            return value
        return [ast.literal_eval(text) for text in _PYTHON_TEXT.findall(value)]
    return found if isinstance(found, dict | list) else value


def is_broken_list(value: Any) -> bool:
    """Tell whether a text begins as a list of texts does; `parsed` has made no list of it."""
    return isinstance(value, str) and value.strip()[:2] in ("['", '["')


def kind_of(value: Any) -> str:
    """Return the kind of a value in words."""
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "true or false"), (str, "a text"), ((int, float), "a number"),
        (list, "a list"), (dict, "an object"),
    )  # fmt: skip
    return next((word for kind, word in kinds if isinstance(value, kind)), type(value).__name__)


def sample(table: Table, column: str, number: int = 200) -> list[Any]:
    """Return some values of a column, spread over the table, absent ones left out."""
    index = table.columns.index(column)
    rows = table.rows[:: max(1, len(table.rows) // number)]
    return [row[index] for row in rows if row[index] not in ("", None, MISSING)]
