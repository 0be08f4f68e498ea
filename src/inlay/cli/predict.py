"""`inlay predict`: texts in, answers out."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inlay.cli import console, wording
from inlay.cli.options import (
    Columns,
    Member,
    PairColumn,
    Run,
    TaskOptions,
    TextColumn,
    parse_columns,
    parse_task_options,
)
from inlay.errors import ConfigError, DataError

if TYPE_CHECKING:
    from inlay.data.forms.base import Given
    from inlay.data.rows import Example
    from inlay.evaluation.predictor import Predictor
    from inlay.tasks.base import AbstractPrediction

_LABELS_SHOWN = 3


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
        typer.Option("--input", "-i", help="CSV, TSV, JSONL, Parquet or text file."),
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
    task_options: TaskOptions = None,
    labels: Annotated[
        str | None, typer.Option(help="Other labels to ask: a,b,c (task similarity).")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Another place of the same base.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> int:
    """Answer texts: arguments, standard input, or a file."""
    _check(texts, pair, source, target, force=force)
    options = parse_task_options(task_options)
    console.be_calm()
    if source is not None:
        return _predict_file(
            _load(run, base, member, labels, options), source, target, top=top, as_json=as_json,
            columns=parse_columns(columns)
            | {
                role: name
                for role, name in (("text", text_column), ("pair", pair_column))
                if name is not None
            },
        )  # fmt: skip
    given: list[Given] = [*texts] if texts else [*_lines_of_stdin()]
    if pair is not None:
        given = [(str(given[0]), pair)]
    if given:
        predictor = _load(run, base, member, labels, options)
        predictions = predictor.predict(given)
        _tell_unread(predictor, predictor.examples(given))
        _print(given, predictions, top or _LABELS_SHOWN, as_json=as_json)
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


def _load(
    run: str,
    base: str | None,
    member: str | None,
    labels: str | None,
    options: Mapping[str, str],
) -> "Predictor":
    from inlay.evaluation.predictor import load_predictor

    predictor = load_predictor(run, base=base)
    if member is not None:
        predictor = predictor.member(member)
    predictor = predictor.with_options(options)
    if labels is None:
        return predictor
    return predictor.with_labels([label.strip() for label in labels.split(",") if label.strip()])


def _tell_unread(predictor: "Predictor", rows: "Sequence[Example]") -> None:
    """Say what was cut off of texts that are longer than the base takes."""
    for note in predictor.unread(rows):
        console.tell(f"note: {note}")


def _lines_of_stdin() -> list[str]:
    """Read one text a line; a blank line is no text, and is said to be left out."""
    data = sys.stdin.buffer.read()
    lines = []
    blank = 0
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise DataError(
                f"standard input line {number}: not valid utf-8 (byte 0x{line[error.start]:02X})."
            ) from error
        if text:
            lines.append(text)
        else:
            blank += 1
    if blank:
        console.tell(f"note: {wording.plural(blank, 'blank line')} on standard input left out")
    if not lines:
        console.tell("note: no text on standard input")
    return lines


def _print(
    inputs: "Sequence[Given]",
    predictions: "Sequence[AbstractPrediction]",
    top: int,
    *,
    as_json: bool,
) -> None:
    for given, prediction in zip(inputs, predictions, strict=True):
        if as_json:
            row = _asked(given) | prediction.record(top)
            console.put(json.dumps(row, ensure_ascii=False))
        else:
            console.put(prediction.line(top))


def _asked(given: "Given") -> dict[str, Any]:
    """Return an input as plain data."""
    if isinstance(given, str):
        return {"text": given}
    if isinstance(given, Mapping):
        return dict(given)
    return dict(zip(("text", "pair"), given, strict=False))


def _predict_file(
    predictor: "Predictor",
    source: Path,
    target: Path | None,
    *,
    top: int | None,
    as_json: bool,
    columns: dict[str, str],
) -> int:
    from inlay.cli.answers import answered, layout_of
    from inlay.data.forms.registry import FORMS
    from inlay.data.inputs import read_inputs
    from inlay.store.atomic import write_atomically

    layout = layout_of(target) if target is not None else ""
    inputs = read_inputs(
        source, form=FORMS.get(predictor.task.form), columns=columns,
        has_pairs=predictor.reads_pairs,
    )  # fmt: skip
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
    _tell_unread(predictor, examples)
    if target is None:
        asked: list[Given] = [
            row.text if row.pair is None else (row.text, row.pair) for row in examples
        ]
        _print(asked, predictions, top or _LABELS_SHOWN, as_json=as_json)
        return 0
    answers = [prediction.columns(top or 1) for prediction in predictions]
    write_atomically(target, answered(inputs, answers, layout=layout))
    console.put(f"{target}   {wording.plural(len(examples), 'row')}")
    return 0
