"""`inlay errors`: the test rows a run is most confidently wrong about."""

import dataclasses
import difflib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json
from inlay.cli.results import number as number_text
from inlay.cli.results import title
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
    """Show the test rows a run is most surely wrong about, or that are worst.

    Many of them are errors in the labels; known scores and texts may be wrong too.
    """
    from inlay.evaluation.records import mistakes, read_headline, read_records

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
    metric = read_headline(run).name if any(map(_has_text_score, records)) else ""
    for record in wrong:
        text = " ".join(record.text.split())
        if record.pair is not None:
            text += f" | {around(record.pair, record.label, record.predicted)}"
        console.put(f"{_judged(record, metric)}   {record.row}")
        console.put(f"      {text if wide is None else shorten(text, wide - 6)}")
    if all(record.value in (0, 1) for record in records):
        shown = f"{len(wrong)} of {wording.plural(total, 'wrong row')}, of "
        shown += f"{wording.count(len(records))} in test"
    else:
        # Where rows are right by degrees nearly all of them are a little wrong.
        shown = f"the {len(wrong)} worst of {wording.plural(len(records), 'row')} in test"
    why = _why(records)
    console.tell(f"{shown}; {why}" if why else shown)
    return 0


def _is_number(record: "Record") -> bool:
    return set(record.details) == {"score"}


def _is_text(record: "Record") -> bool:
    return "predicted_text" in record.details


def _has_text_score(record: "Record") -> bool:
    """Tell whether a text is scored by what was written rather than by the known one."""
    return _is_text(record) and record.value >= 0


def _why(records: "Sequence[Record]") -> str:
    """Say what may be wrong with such rows besides the answer; nothing where nothing was known."""
    known = [record for record in records if record.label]
    numbers = any(_is_number(record) for record in known)
    if known and all(_is_text(record) for record in known):
        return "some may be right in other words, or their known texts wrong"
    if known and all(_is_number(record) for record in known):
        return "the known scores of some may be wrong"
    text = "many such rows are errors in the labels" if known else ""
    return f"{text} or known scores" if numbers else text


def _judged(record: "Record", metric: str) -> str:
    """Say what was answered, how surely or how well, and what is right."""
    predicted, label = record.predicted, record.label
    if "tags" in record.details:
        predicted, label = differing(predicted, label)
    how, right = f"{record.confidence:.2f}  ", "labelled"
    if _is_number(record):
        how, right = "", "known"  # of numbers it is not known how sure they are
    elif _has_text_score(record):
        how, right = f"{title(metric)} {number_text(metric, record.value)}  ", "known"
    elif record.value < 0:
        how, right = f"perplexity {-record.value:.4g}  ", "known"
        if not predicted and not label:
            return how.rstrip()  # running text, of which nothing was asked
    is_cut = record.details.get("finish_reason", "stop") != "stop"
    return f"{how}predicted {_short(predicted)}{' (cut off)' * is_cut}, {right} {_short(label)}"


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
