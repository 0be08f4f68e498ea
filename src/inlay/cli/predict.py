"""`inlay predict`: texts in, labels and probabilities out."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inlay.cli import console, wording
from inlay.cli.options import PairColumn, Run, TextColumn
from inlay.errors import ConfigError, DataError

if TYPE_CHECKING:
    from inlay.evaluation.predictor import Predictor, Text
    from inlay.tasks.base import Prediction

_LABELS_SHOWN = 3


def predict(
    *,
    run: Run,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="Texts; one a line on standard input if none."),
    ] = None,
    pair: Annotated[str | None, typer.Option(help="Second text of a pair.")] = None,
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
    top: Annotated[
        int | None, typer.Option(min=1, help="Labels to show.", show_default="3; 1 in a file")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Another place of the same base.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> int:
    """Label texts: arguments, standard input, or a file."""
    _check(texts, pair, source, target, force=force)
    console.be_calm()
    if source is not None:
        return _predict_file(
            run, source, target, base=base, top=top, as_json=as_json,
            text_column=text_column, pair_column=pair_column,
        )  # fmt: skip
    given: list[Text] = [*texts] if texts else [*_lines_of_stdin()]
    if pair is not None:
        given = [(str(given[0]), pair)]
    if given:
        _print(given, _load(run, base).predict(given), top or _LABELS_SHOWN, as_json=as_json)
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


def _load(run: str, base: str | None) -> "Predictor":
    from inlay.evaluation.predictor import load_predictor

    return load_predictor(run, base=base)


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
    texts: "Sequence[Text]", predictions: "Sequence[Prediction]", top: int, *, as_json: bool
) -> None:
    for text, prediction in zip(texts, predictions, strict=True):
        if as_json:
            first, second = (text, None) if isinstance(text, str) else text
            row: dict[str, Any] = {"text": first} | ({"pair": second} if second else {})
            row |= {"label": prediction.label, "probabilities": _best(prediction, top)}
            console.put(json.dumps(row, ensure_ascii=False))
        else:
            shown = (f"{label} {value:.2f}" for label, value in _best(prediction, top).items())
            console.put("   ".join(shown))


def _best(prediction: "Prediction", top: int) -> dict[str, float]:
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    return {label: round(value, 6) for label, value in ranked[:top]}


def _predict_file(
    run: str,
    source: Path,
    target: Path | None,
    *,
    base: str | None,
    top: int | None,
    as_json: bool,
    text_column: str | None,
    pair_column: str | None,
) -> int:
    from inlay.cli.answers import answered, layout_of
    from inlay.data.inputs import read_inputs
    from inlay.store.atomic import write_atomically

    layout = layout_of(target) if target is not None else ""
    inputs = read_inputs(source, text_column=text_column, pair_column=pair_column)
    for note in inputs.notes:
        console.tell(f"note: {note}")
    for row in inputs.rejected[:5]:
        console.tell(f"left out: {source} line {row.line}: {row.reason}")
    if len(inputs.rejected) > 5:
        console.tell(f"left out: {len(inputs.rejected) - 5} more")
    texts: list[Text] = [
        row.text if row.pair is None else (row.text, row.pair) for row in inputs.rows
    ]
    predictions = _load(run, base).predict(texts)
    if target is None:
        _print(texts, predictions, top or _LABELS_SHOWN, as_json=as_json)
        return 0
    best = [_best(prediction, top or 1) for prediction in predictions]
    write_atomically(target, answered(inputs, best, layout=layout, top=top or 1))
    console.put(f"{target}   {wording.plural(len(texts), 'row')}")
    return 0
