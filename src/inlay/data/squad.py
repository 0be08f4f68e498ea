"""SQuAD's own layout: one JSON document of articles, their paragraphs and their questions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inlay.data.decoding import printable, read_text
from inlay.data.rows import Rejected
from inlay.data.table import MISSING, Table
from inlay.errors import DataError

_COLUMNS = ("id", "question", "context", "answers")


def read_squad(path: Path, *, name: str) -> Table | None:
    """Read a SQuAD document; each row is a question, and its line is the question's number.

    Args:
        path: The file, plain or gzipped: `{"data": [{"paragraphs": [{"context", "qas"}]}]}`.
        name: What to call it in messages and row ids.

    Returns:
        The columns id, question, context and answers; `None` if the file is something else.

    Raises:
        DataError: If the file is no text, or the document has no question.
    """
    decoded = read_text(path, name=name)
    if decoded.text.lstrip()[:1] != "{" or '"paragraphs"' not in decoded.text:
        return None
    try:
        document = json.loads(decoded.text)
    except (ValueError, RecursionError):
        return None  # perhaps JSON Lines, whose reader says what is wrong
    if not isinstance(document.get("data"), list):
        return None
    rows: list[list[Any]] = []
    lines: list[int] = []
    rejected: list[Rejected] = []
    for number, found in enumerate(_questions(document["data"]), start=1):
        if isinstance(found, str):
            rejected.append(Rejected(name, number, found, ""))
        else:
            rows.append(found)
            lines.append(number)
    if not rows:
        first = f" First: {rejected[0].reason}." if rejected else ""
        raise DataError(f"{name} is laid out as SQuAD is, but has no question in it.{first}")
    return Table(
        name=name, path=str(path), layout="jsonl", sha256=decoded.sha256,
        encoding=decoded.encoding, separator=None, columns=list(_COLUMNS), rows=rows, lines=lines,
        raw=lambda index: printable(_written(rows[index])), rejected=rejected,
        notes=[f"{name}: a SQuAD document; its questions are numbered from 1."],
        has_faults=True, is_typed=True,
    )  # fmt: skip


def _questions(articles: list[Any]) -> Iterator[list[Any] | str]:
    """Return the cells of each question, or what is wrong in place of them."""
    for article in articles:
        for paragraph in _list_in(article, "paragraphs"):
            if isinstance(paragraph, str):
                yield paragraph
                continue
            for question in _list_in(paragraph, "qas"):
                yield question if isinstance(question, str) else _cells(question, paragraph)


def _list_in(holder: Any, key: str) -> list[Any]:
    """Return the objects of a list, a reason in place of what is none."""
    what = {"paragraphs": "an article", "qas": "a paragraph"}[key]
    if not isinstance(holder, dict) or not isinstance(holder.get(key), list):
        return [f'{what} has no list "{key}"']
    return [
        item if isinstance(item, dict) else f'"{key}" holds something that is no object'
        for item in holder[key]
    ]


def _cells(question: dict[str, Any], paragraph: dict[str, Any]) -> list[Any] | str:
    answers = question.get("answers", MISSING)
    if question.get("is_impossible") is True:
        if answers not in (MISSING, None, []):
            return "is_impossible, yet it has answers"
        answers = []
    return [
        question.get("id", MISSING), question.get("question", MISSING),
        paragraph.get("context", MISSING), answers,
    ]  # fmt: skip


def _written(row: list[Any]) -> str:
    known = {key: value for key, value in zip(_COLUMNS, row, strict=True) if value is not MISSING}
    return json.dumps(known, ensure_ascii=False)
