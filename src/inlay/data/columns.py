"""Which column holds the text, the second text and the label: by name first, else by content."""

import re
import statistics
from collections.abc import Sequence
from typing import NamedTuple, final

from inlay.data.table import Table
from inlay.errors import DataError, did_you_mean

TEXT_NAMES = [
    "text",
    "sentence",
    "review",
    "content",
    "body",
    "message",
    "comment",
    "tweet",
    "utterance",
    "query",
    "question",
    "premise",
    "sentence1",
    "question1",
    "text1",
    "texta",
    "sentencea",
    "document",
    "article",
    "abstract",
    "description",
    "post",
    "sms",
    "input",
    "prompt",
    "title",
    "headline",
    "summary",
    "feedback",
    "transcript",
]
LABEL_NAMES = [
    "label",
    "intent",
    "category",
    "class",
    "target",
    "sentiment",
    "topic",
    "gold",
    "goldlabel",
    "labels",
    "stars",
    "star",
    "rating",
    "emotion",
    "polarity",
    "stance",
    "tag",
    "type",
    "bucket",
    "y",
    "output",
    "answer",
    "language",
    "lang",
    "isduplicate",
    "entailment",
    "score",
]
PAIR_NAMES = (
    ("text", "textpair"),
    ("text", "pair"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("texta", "textb"),
    ("sentencea", "sentenceb"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("question", "answer"),
    ("query", "passage"),
    ("query", "document"),
)
_TRIPLES = {"head", "relation", "tail"}
"""Columns of a knowledge graph, which is none of the forms that are learnt."""
_SAMPLE = 500
_MAX_NAME_WORDS = 6
_BY_NAME = 0.9
"""How sure a guess is that rests on a part of a column's name; one by content is less sure."""


@final
class Roles(NamedTuple):
    """The columns' roles, and how sure the guess is: in [0, 1], 1.0 if all were given."""

    text: str
    pair: str | None
    label: str | None
    confidence: float


def find_columns(
    table: Table,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    needs_label: bool = True,
) -> Roles:
    """Return which columns to read, taking what was named and guessing the rest.

    Args:
        table: The rows, of which a sample is looked at.
        text_column: The name given for the text, if any.
        pair_column: The name given for the second text of a pair, if any.
        label_column: The name given for the label, if any.
        needs_label: Whether a missing label is an error.

    Raises:
        DataError: If a named column is not there, or one cannot be guessed.
    """
    given = {"text": text_column, "pair": pair_column, "label": label_column}
    guess = _Guess(table)
    for role, name in given.items():
        if name is not None and name not in table.columns:
            raise _missing(table, role, name, guess.nearest(role, name, given))
    _refuse_repeats(table, given)
    if text_column is None:
        _refuse_other_tasks(table)
    taken = [name for name in given.values() if name]
    confidence = 1.0
    label = label_column
    if label is None and needs_label:
        label, confidence = guess.label(taken)
        if label is None:
            _refuse_missing_header(table)
            raise _missing(table, "label", "label", guess.any_label(taken))
        taken.append(label)
    text, pair = text_column, pair_column
    if text is None and pair is None:
        text, pair = guess.pair(taken)
        taken += [name for name in (text, pair) if name]
    if text is None:
        text, sureness = guess.text(taken)
        if text is None:
            _refuse_missing_header(table)
            raise _missing(table, "text", "text", guess.any_text(taken))
        if label_column is None and needs_label and confidence < _BY_NAME and sureness < _BY_NAME:
            _refuse_missing_header(table)
        confidence = min(confidence, sureness)
    elif pair is None and pair_column is None:
        pair = guess.partner(text, taken)
    return Roles(text, pair, label, confidence)


def simplify(name: str) -> str:
    """Return a column's name in lower case, with only its letters and digits.

    Example:
        >>> simplify("Review_Text")
        'reviewtext'
    """
    return re.sub(r"[\W_]+", "", name).lower()


@final
class _Guess:
    """Guesses of roles for one table's columns."""

    def __init__(self, table: Table) -> None:
        self.columns = table.columns
        self.simple = {simplify(name): name for name in reversed(table.columns)}
        self.rows = table.rows[:: max(1, len(table.rows) // _SAMPLE)]
        self.is_index = set(table.class_names)

    def pair(self, taken: Sequence[str]) -> tuple[str | None, str | None]:
        for first, second in PAIR_NAMES:
            names = self.simple.get(first), self.simple.get(second)
            if names[0] and names[1] and not {*names} & {*taken}:
                return names
        return None, None

    def partner(self, text: str, taken: Sequence[str]) -> str | None:
        for first, second in PAIR_NAMES:
            name = self.simple.get(second)
            if simplify(text) == first and name and name not in taken:
                return name
        return None

    def label(self, taken: Sequence[str]) -> tuple[str | None, float]:
        free = [name for name in self.columns if name not in taken]
        for name in self._by_name(free, LABEL_NAMES):
            if self._values(name):
                return name, 0.98 if simplify(name) in LABEL_NAMES else _BY_NAME
        likely = [
            name
            for name in free
            if simplify(name) not in TEXT_NAMES and self._looks_like_label(name)
        ]
        return (likely[0], 0.75 if len(likely) == 1 else 0.5) if likely else (None, 0.0)

    def text(self, taken: Sequence[str]) -> tuple[str | None, float]:
        free = [name for name in self.columns if name not in taken]
        for name in self._by_name(free, TEXT_NAMES):
            if self._median_words(name) > 0:
                return name, 0.98 if simplify(name) in TEXT_NAMES else _BY_NAME
        longest = max(free, key=self._median_words, default=None)
        if longest and self._median_words(longest) >= 3:
            return longest, 0.75
        return (longest, 0.5) if longest and self._is_words(longest) else (None, 0.0)

    def any_label(self, taken: Sequence[str]) -> str | None:
        text = self.text(taken)[0]
        free = [name for name in self.columns if name not in taken and name != text]
        return min(free, key=lambda name: len(set(self._values(name))), default=None)

    def any_text(self, taken: Sequence[str]) -> str | None:
        free = [name for name in self.columns if name not in taken]
        return max(free, key=self._median_words, default=None)

    def nearest(self, role: str, name: str, given: dict[str, str | None]) -> str | None:
        """Return the column that was probably meant by a name that is not there."""
        taken = [other for other in given.values() if other in self.columns and other != name]
        free = [column for column in self.columns if column not in taken]
        near = did_you_mean(simplify(name), [simplify(column) for column in free])
        for column in free:
            if simplify(column) == simplify(name) or f"'{simplify(column)}'" in near:
                return column
        if role == "label":
            return self.label(taken)[0]
        label = given["label"] or self.label(taken)[0]
        return self.text([*taken, label] if label else taken)[0]

    def _by_name(self, free: Sequence[str], known: Sequence[str]) -> list[str]:
        """Return the columns whose name, last word or any word is known, best first."""
        scored = []
        for place, column in enumerate(free):
            words = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column).lower())
            if simplify(column) in known:
                scored.append((0, known.index(simplify(column)), place, column))
            elif words[-1] in known and words[-1] != "y":
                scored.append((1, known.index(words[-1]), place, column))
            elif words[0] in known and words[0] != "y" and words[-1] not in ("id", "length"):
                scored.append((2, known.index(words[0]), place, column))
        return [column for *_, column in sorted(scored)]

    def _values(self, name: str) -> list[str]:
        index = self.columns.index(name)
        return [str(row[index]) for row in self.rows if row[index] not in ("", None)]

    def _median_words(self, name: str) -> float:
        if name in self.is_index:
            return 0.0
        index = self.columns.index(name)
        counts = [len(row[index].split()) for row in self.rows if isinstance(row[index], str)]
        return statistics.median(counts) if counts else 0.0

    def _is_words(self, name: str) -> bool:
        values = self._values(name)
        lettered = sum(any(map(str.isalpha, value)) for value in values)
        return bool(values) and lettered > 0.8 * len(values) and len(set(values)) > len(values) / 2

    def _looks_like_label(self, name: str) -> bool:
        values = self._values(name)
        distinct = len(set(values))
        return 1 <= distinct <= max(2, len(values) / 5) and self._median_words(name) <= 3


def _missing(table: Table, role: str, name: str, suggestion: str | None) -> DataError:
    hint = (
        f"Did you mean --{role}-column {_quoted(suggestion)}?"
        if suggestion
        else f"Name it with --{role}-column."
    )
    known = ", ".join(table.columns) if table.columns else "no columns"
    return DataError(f'{table.name} has no column "{name}". It has: {known}. {hint}')


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f'"{name}"'


def _refuse_repeats(table: Table, given: dict[str, str | None]) -> None:
    named = [name for name in given.values() if name]
    for name in named:
        if named.count(name) > 1:
            raise DataError(
                f'{table.name}: column "{name}" was named for two roles. '
                "Text, pair and label need a column each."
            )


def _refuse_other_tasks(table: Table) -> None:
    if {simplify(column) for column in table.columns} >= _TRIPLES:
        raise DataError(
            f"{table.name} looks like a knowledge graph ({', '.join(table.columns)}), which no "
            "task learns. If one column is a class, name it with --text-column and --label-column."
        )


def _refuse_missing_header(table: Table) -> None:
    """Say so when what was taken for the header is a row."""
    if table.layout != "csv" or not table.rows:
        return
    for index, column in enumerate(table.columns):
        is_long = len(column.split()) > _MAX_NAME_WORDS
        if is_long or sum(row[index].strip() == column for row in table.rows) > 1:
            raise DataError(
                f"{table.name} seems to have no header: its first line reads "
                f'"{_shorten(", ".join(table.columns))}". Add a first line with the names of the '
                "columns, such as: text,label"
            )


def _shorten(text: str) -> str:
    return text if len(text) <= 70 else f"{text[:67]}..."
