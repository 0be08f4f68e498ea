"""A question, a text, and where in the text the answer stands; with no answer allowed."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.data.forms.base import AbstractForm, Place, Role, kind_of, parsed, text_of
from inlay.data.rows import Example
from inlay.data.splits import text_key
from inlay.data.table import MISSING, Table
from inlay.errors import counted

_AMBIGUOUS = "answer without an offset stands in its context several times: the first is taken"


@final
class Spans(AbstractForm):
    """`question`, `context` and `answers` as in SQuAD.

    `answers` is `{"text": [...], "answer_start": [...]}`, a list of `{"text", "answer_start"}`, a
    text, or a list of texts, each also written as JSON; empty where the context has no answer.
    Offsets are in characters. `parts` holds `answers`, a list of `[start, text]` that agree with
    the context and have no white space at their ends.
    """

    name: ClassVar[str] = "spans"
    roles: ClassVar[tuple[Role, ...]] = (
        Role("question", ("question", "query")),
        Role("context", ("context", "passage", "paragraph", "document")),
        Role("answers", ("answers", "answer"), is_target=True),
    )

    @override
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        return columns["answers"].lower() == "answers"

    @override
    def example(
        self, cells: Mapping[str, Any], place: Place, counts: Counter[str], *, has_target: bool
    ) -> Example | str:
        question, fault = text_of(cells.get("question", MISSING), "question")
        context, other = text_of(cells.get("context", MISSING), "context")
        if fault or other:
            return fault or other or ""
        found: list[list[Any]] = []
        absent: list[str] = []
        if has_target:
            answers = _answers(cells.get("answers", MISSING))
            if isinstance(answers, str):
                return answers
            for start, text in answers:
                at = _locate(context, text, start)
                if at is None:
                    absent.append(text)
                    continue
                if start is None and context.count(text) > 1:
                    counts[_AMBIGUOUS] += 1
                if start is not None and at != start:
                    counts["answer not at its offset, found elsewhere and corrected"] += 1
                found.append([at, text])
            if absent and not found:
                return f"the answer {_shorten(absent[0])} is not in the context"
            if absent:
                counts["answer not in its context left out; the row has others"] += len(absent)
        label = found[0][1] if found else ""
        return Example(question, context, label, place.file, place.line, {"answers": found})

    @override
    def asked(self, row: Example) -> dict[str, Any]:
        return {"question": row.text, "context": row.pair}

    @override
    def group(self, row: Example) -> str:
        # One context has many questions: a split in between would show the test's texts.
        return text_key(row.pair or "", None)


def _answers(value: Any) -> list[tuple[int | None, str]] | str:
    """Return offsets, where given, and texts; or what is wrong."""
    if value is MISSING:
        return "answers are missing"
    if value is None or value == "":
        return []
    value = parsed(value)
    if isinstance(value, str):
        value = [value]
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, str):
            texts, starts = [texts], [starts]
        if not isinstance(texts, list):
            return 'answers have no list "text"'
        starts = starts if isinstance(starts, list) else [None] * len(texts)
        if len(starts) != len(texts):
            return f"{counted(len(texts), 'answer')} but {counted(len(starts), 'offset')}"
        value = [
            {"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)
        ]
    if not isinstance(value, list):
        return f"answers are {kind_of(value)}, not a list"
    pairs = []
    for item in value:
        text = item.get("text") if isinstance(item, dict) else item
        start = item.get("answer_start") if isinstance(item, dict) else None
        if not isinstance(text, str) or not text.strip():
            return "an answer has no text"
        if isinstance(start, float) and start.is_integer():
            start = int(start)
        bare = text.strip()
        whole = isinstance(start, int) and not isinstance(start, bool)
        at = int(start) + text.index(bare) if whole and start is not None else None
        pairs.append((at, bare))
    return pairs


def _locate(context: str, text: str, start: int | None) -> int | None:
    """Return where the answer stands: at its offset, else at the place nearest to it."""
    if start is not None and context[start : start + len(text)] == text and start >= 0:
        return start
    places = []
    at = context.find(text)
    while at >= 0:
        places.append(at)
        at = context.find(text, at + 1)
    return min(places, key=lambda place: abs(place - (start or 0)), default=None)


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
