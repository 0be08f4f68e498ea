"""`inlay predict`: texts in, answers out."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inlay.cli import console, wording
from inlay.cli.options import (
    Columns,
    Member,
    OptionsOfAnswering,
    PairColumn,
    Run,
    TextColumn,
    parse_columns,
    parse_task_options,
)
from inlay.errors import ConfigError, DataError

if TYPE_CHECKING:
    from inlay.data.forms.base import Given, Place
    from inlay.data.inputs import Inputs
    from inlay.data.rows import Example
    from inlay.evaluation.predictor import Predictor
    from inlay.tasks.base import AbstractPrediction

_LABELS_SHOWN = 3

_STDIN = Path("-")


_INPUT_HELP = (
    "CSV, TSV, JSONL, Parquet or text file; - for JSON Lines on standard input: one object a line, "
    'like {"text": ..., "pair": ...} or {"question": ..., "context": ...}.'
)


def predict(
    *,
    run: Run,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="Texts; one a line on standard input if none."),
    ] = None,
    pair: Annotated[
        str | None, typer.Option(help="Second text of a pair; the context of a question.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--input", "-i", help=_INPUT_HELP),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="CSV, TSV or JSONL file to write."),
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    columns: Columns = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Labels to show.", show_default="3; 1 in a file")
    ] = None,
    member: Member = None,
    task_options: OptionsOfAnswering = None,
    labels: Annotated[
        str | None, typer.Option(help="Other labels to ask: a,b,c (task similarity).")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Another place of the same base.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> int:
    """Answer texts: arguments, standard input, or a file."""
    single = {"text": text_column, "pair": pair_column}
    named = parse_columns(columns) | {
        role: name for role, name in single.items() if name is not None
    }
    _check(texts, pair, source, target, force=force)
    _check_effects(source, target, named, as_json=as_json)
    options = parse_task_options(task_options)
    console.be_calm()
    if source is not None:
        typed = _typed() if source == _STDIN else None
        if typed is not None and not typed.strip():
            console.tell("note: no rows on standard input")
            return 0
        return _predict_file(
            _load(run, base, member, labels, options), source, target, typed, top=top,
            as_json=as_json, columns=named,
        )  # fmt: skip
    given: list[tuple[Place, Given]] = [*_given(texts, pair)] if texts else [*_lines_of_stdin()]
    if not given:
        return 0
    predictor = _load(run, base, member, labels, options)
    if pair is not None:
        _check_second(predictor)
    examples = predictor.examples([own for _, own in given], [place for place, _ in given])
    _print(predictor, examples, predictor.ask(examples), top, as_json=as_json)
    return 0


def _check(
    texts: Sequence[str] | None,
    pair: str | None,
    source: Path | None,
    target: Path | None,
    *,
    force: bool,
) -> None:
    """Refuse what does not go together, before anything is loaded."""
    if texts and source is not None:
        raise ConfigError("texts and --input: give either texts or a file.")
    if pair is not None and len(texts or ()) != 1:
        raise ConfigError("--pair: give exactly one text with it; for many pairs use --input.")
    if target is not None and source is None:
        raise ConfigError("--output needs --input; to keep what is printed, write `> file`.")
    if target is not None and target.exists() and not force:
        raise ConfigError(f"{target} exists; choose another --output, or use --force.")
    if not texts and source is None and sys.stdin.isatty():
        raise ConfigError('no text: give it as "...", by --input FILE, or on standard input.')


def _check_effects(
    source: Path | None, target: Path | None, named: Mapping[str, str], *, as_json: bool
) -> None:
    """Refuse options that nothing would come of."""
    if named and source is None:
        raise ConfigError(
            f"a column was named ({', '.join(named.values())}), and no --input has columns; give a "
            "file, or - for JSON Lines on standard input."
        )
    if as_json and target is not None:
        raise ConfigError(
            "--json is about what is printed, and --output prints nothing but its name. Leave "
            "--json out; a name that ends in .jsonl gives JSON Lines."
        )


def _load(
    run: str,
    base: str | None,
    member: str | None,
    labels: str | None,
    options: Mapping[str, str],
) -> "Predictor":
    from inlay.evaluation.predictor import load_predictor
    from inlay.tasks.options import check_answering

    predictor = load_predictor(run, base=base)
    if member is not None:
        predictor = predictor.member(member)
    predictor = predictor.with_options(options)
    check_answering(predictor.task, options)
    if labels is None:
        return predictor
    return predictor.with_labels([label.strip() for label in labels.split(",") if label.strip()])


def _check_second(predictor: "Predictor") -> None:
    """Refuse a second text where the task has no place for one."""
    from inlay.data.forms.registry import FORMS

    form = FORMS.get(predictor.form)
    roles = [role.name for role in form.roles if not role.is_target] if form is not None else []
    if len(roles) == 1:
        raise ConfigError(
            f"--pair: task {predictor.task.name!r} reads {roles[0]} and nothing beside it; leave "
            "--pair out."
        )


def _given(texts: Sequence[str], pair: str | None) -> "Iterator[tuple[Place, Given]]":
    """Give each text that was an argument with its place, counted from 1."""
    from inlay.data.forms.base import Place

    for number, text in enumerate(texts, start=1):
        yield Place("", number), text if pair is None else (text, pair)


def _typed() -> bytes:
    return sys.stdin.buffer.read()


def _lines_of_stdin() -> "Iterator[tuple[Place, Given]]":
    """Read one text a line; a blank line is no text, and is said to be left out."""
    from inlay.data.forms.base import Place

    lines = _typed().removeprefix(b"\xef\xbb\xbf").splitlines()
    blank = objects = 0
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"standard input line {number}: not valid utf-8 (byte 0x{line[error.start]:02X})."
            ) from error
        blank += not text.strip()
        objects += text.lstrip()[:1] == "{" and text.rstrip()[-1:] == "}"
        if text.strip():
            yield Place("standard input", number), text
    if blank:
        console.tell(f"note: {wording.plural(blank, 'blank line')} on standard input left out")
    if blank == len(lines):
        console.tell("note: no text on standard input")
    elif objects == len(lines) - blank:
        console.tell(
            "note: the lines of standard input look like JSON objects and are read as texts; "
            "--input - reads their columns"
        )


def _print(
    predictor: "Predictor",
    examples: "Sequence[Example]",
    predictions: "Sequence[AbstractPrediction]",
    top: int | None,
    *,
    as_json: bool,
) -> None:
    from inlay.data.forms.registry import asked

    _tell_cut(predictor, examples, predictions)
    for example, prediction in zip(examples, predictions, strict=True):
        if as_json:
            row = asked(example, predictor.form) | prediction.record(top or _LABELS_SHOWN)
            console.put(json.dumps(row, ensure_ascii=False))
        else:
            console.put(prediction.line(top or _LABELS_SHOWN))


def _tell_cut(
    predictor: "Predictor",
    rows: "Sequence[Example]",
    predictions: "Sequence[AbstractPrediction]",
) -> None:
    """Say what was cut off of texts that are longer than the base takes, and of answers."""
    for note in (*predictor.unread(rows), *predictor.finish_notes(predictions)):
        console.tell(f"note: {note}")


def _read(
    predictor: "Predictor", source: Path, typed: bytes | None, columns: Mapping[str, str]
) -> "Inputs":
    """Read rows of a file, or of what was typed."""
    from inlay.data.forms.registry import FORMS
    from inlay.data.inputs import parse_inputs, read_inputs

    form = FORMS.get(predictor.form)
    if typed is None:
        return read_inputs(source, form=form, columns=columns, has_pairs=predictor.reads_pairs)
    inputs = parse_inputs(
        typed, name="standard input", form=form, columns=columns, has_pairs=predictor.reads_pairs
    )
    if inputs.rejected:
        # Whoever pipes counts on an answer for each line.
        first, *others = inputs.rejected
        more = f", and {wording.plural(len(others), 'more line')} cannot be used" if others else ""
        raise DataError(f"standard input line {first.line}: {first.reason}{more}.")
    return inputs


def _predict_file(
    predictor: "Predictor",
    source: Path,
    target: Path | None,
    typed: bytes | None,
    *,
    top: int | None,
    as_json: bool,
    columns: dict[str, str],
) -> int:
    from inlay.cli.answers import answered, layout_of
    from inlay.store.atomic import write_atomically

    layout = layout_of(target) if target is not None else ""
    inputs = _read(predictor, source, typed, columns)
    for note in inputs.notes:
        console.tell(f"note: {note}")
    for row in inputs.rejected[:5]:
        console.tell(f"left out: {source} line {row.line}: {row.reason}")
    if len(inputs.rejected) > 5:
        console.tell(f"left out: {len(inputs.rejected) - 5} more")
    if inputs.rejected and not inputs.rows:
        raise DataError(f"{source}: no row of {len(inputs.rejected)} can be answered.")
    examples = [row.example for row in inputs.rows]
    predictions = predictor.ask(examples)
    if target is None:
        _print(predictor, examples, predictions, top, as_json=as_json)
        return 0
    _tell_cut(predictor, examples, predictions)
    answers = [prediction.columns(top or 1) for prediction in predictions]
    write_atomically(target, answered(inputs, answers, layout=layout))
    console.put(f"{target}   {wording.plural(len(examples), 'row')}")
    return 0
