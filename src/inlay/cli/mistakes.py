"""`inlay errors`: the test rows a run is most confidently wrong about."""

import dataclasses
import difflib
import json
from typing import TYPE_CHECKING, Annotated

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json
from inlay.cli.table import shorten

if TYPE_CHECKING:
    from inlay.evaluation.records import Record

_CONTEXT = 160
"""Characters that are shown of a second text."""


def errors(
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Rows, at most.")] = 20,
    as_json: Json = False,
) -> int:
    """Show the test rows a run is most surely wrong about.

    Many of them are errors in the labels.
    """
    from inlay.evaluation.records import mistakes, read_records

    wrong = mistakes(run, number)
    if as_json:
        rows = [dataclasses.asdict(record) for record in wrong]
        console.put(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    records = read_records(run)
    total = sum(not record.is_correct for record in records)
    if not wrong:
        console.put(f"none of {wording.plural(len(records), 'test row')} is wrong")
        return 0
    wide = console.stdout_width()
    for record in wrong:
        text = " ".join(record.text.split())
        if record.pair is not None:
            text += f" | {around(record.pair, record.label, record.predicted)}"
        console.put(f"{_judged(record)}   {record.row}")
        console.put(f"      {text if wide is None else shorten(text, wide - 6)}")
    if all(record.value in (0, 1) for record in records):
        shown = f"{len(wrong)} of {wording.plural(total, 'wrong row')}, of "
        shown += f"{wording.count(len(records))} in test"
    else:
        # Where rows are right by degrees nearly all of them are a little wrong.
        shown = f"the {len(wrong)} worst of {wording.plural(len(records), 'row')} in test"
    has_labels = any(record.label for record in records)
    console.tell(f"{shown}; many such rows are errors in the labels" if has_labels else shown)
    return 0


def _judged(record: "Record") -> str:
    """Say what was answered, how surely, and what is right."""
    predicted, label = record.predicted, record.label
    if "tags" in record.details:
        predicted, label = differing(predicted, label)
    sure = f"{record.confidence:.2f}  "
    if set(record.details) == {"score"}:
        sure = ""  # of numbers it is not known
    elif record.value < 0:
        sure = f"perplexity {-record.value:.4g}  "
        if not predicted and not label:
            return sure.rstrip()  # running text, of which nothing was asked
    return f"{sure}predicted {_short(predicted)}, labelled {_short(label)}"


def around(text: str, *answers: str) -> str:
    """Return a long text cut to what is around the first answer that stands in it.

    Args:
        text: Such as the context of a question.
        answers: What is right and what was predicted.

    Example:
        >>> around("word " * 40 + "here it is" + " word" * 40, "", "it")[:25]
        '... word word word word w'
    """
    text = " ".join(text.split())
    if len(text) <= _CONTEXT:
        return text
    found = (text.find(" ".join(answer.split())) for answer in answers if answer.strip())
    place = next((at for at in found if at >= 0), 0)
    begin = max(0, min(place - _CONTEXT // 2, len(text) - _CONTEXT))
    end = begin + _CONTEXT
    # At a blank, unless one word is as long as all that is shown.
    begin = text.rfind(" ", 0, begin) + 1 if begin else 0
    blank = text.rfind(" ", begin, end)
    end = len(text) if end >= len(text) else end if blank < 0 else blank
    return f"{'... ' if begin else ''}{text[begin:end]}{' ...' if end < len(text) else ''}"


def differing(one: str, other: str) -> tuple[str, str]:
    """Return two answers without the words that they have in common.

    Example:
        >>> differing("a/DET dog/NOUN barks/NOUN", "a/DET dog/NOUN barks/VERB")
        ('barks/NOUN', 'barks/VERB')
    """
    words = one.split(), other.split()
    matcher = difflib.SequenceMatcher(None, *words, autojunk=False)
    kept: tuple[list[str], list[str]] = [], []
    for kind, *places in matcher.get_opcodes():
        if kind != "equal":
            kept[0].extend(words[0][places[0] : places[1]])
            kept[1].extend(words[1][places[2] : places[3]])
    return " ".join(kept[0]), " ".join(kept[1])


def _short(answer: str) -> str:
    """Return an answer on one line, cut where it is long; nothing is said as such."""
    return shorten(" ".join(answer.split()), 60) or "(nothing)"
