"""Options that several commands share, each with its one help text."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any

import typer

from inlay.errors import ConfigError

TextColumn = Annotated[
    str | None, typer.Option(help="Column of the text.", show_default="guessed", metavar="NAME")
]
PairColumn = Annotated[str | None, typer.Option(help="Column of a second text.", metavar="NAME")]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column of the label.", show_default="guessed", metavar="NAME")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="ROLE=NAME", help="Column of another role: --column tokens=words."
    ),
]
Task = Annotated[
    str | None, typer.Option(help="What the rows are for.", show_default="told from the data")
]
_OPTIONS_OF_TASKS = {
    "labels": ("out_of_scope", "threshold", "dropout"),
    "answers": ("max_answer_tokens", "threshold"),
    "similarity": ("factor",),
    "masked words": ("share",),
    "writing": (
        "num_beams", "max_new_tokens", "length_penalty", "no_repeat_ngram_size", "do_sample",
        "temperature", "top_p", "seed",
    ),
    "prompts": ("separator", "packing"),
    "programs": ("pass_at", "num_samples", "test_seconds"),
}  # fmt: skip
# In words here, as the tasks themselves bring PyTorch; a test compares the two.
_OF_TRAINING = {"dropout", "factor", "share", "separator", "packing"}
_FITTED = {"threshold"}
_OF_REPORTS = {"out_of_scope", "pass_at", "num_samples", "test_seconds"}


def task_option_help(left_out: Collection[str]) -> str:
    """Return the help of `--task-option` without the options that have no effect in a command."""
    groups = {
        what: [name for name in names if name not in left_out]
        for what, names in _OPTIONS_OF_TASKS.items()
    }
    shown = "; ".join(f"{what}: {', '.join(names)}" for what, names in groups.items() if names)
    return (
        "An option of the task, like num_beams=2; may be given often. "
        f"{shown[0].upper()}{shown[1:]}."
    )


def _task_options(left_out: Collection[str]) -> Any:
    return typer.Option("--task-option", metavar="KEY=VALUE", help=task_option_help(left_out))


TaskOptions = Annotated[list[str] | None, _task_options(_FITTED)]
OptionsOfEvaluating = Annotated[list[str] | None, _task_options(_OF_TRAINING)]
OptionsOfAnswering = Annotated[list[str] | None, _task_options(_OF_TRAINING | _OF_REPORTS)]
Member = Annotated[
    str | None,
    typer.Option(help="Which of several tasks that were learnt together.", metavar="NAME"),
]
LabelMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map-label",
        "--label-map",
        metavar="OLD=NEW",
        help="Read the label OLD as NEW; may be given often.",
    ),
]
MaxRejected = Annotated[
    str | None,
    typer.Option(metavar="SHARE", help="Rows that may be unusable.", show_default="1%"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or a saved adapter's.")]


def parse_share(text: str | None) -> float | None:
    """Return a fraction written as `5%` or `0.05`; `None` stays `None`.

    Raises:
        DataError: If it is neither.
    """
    from inlay.data.sources import parse_fraction

    return None if text is None else parse_fraction(text)


def parse_columns(given: Sequence[str] | None) -> dict[str, str]:
    """Return `{"tokens": "words"}` from `["tokens=words"]`.

    Raises:
        ConfigError: If a part has no `=`, or one role is given twice.
    """
    result: dict[str, str] = {}
    for part in given or ():
        role, has_name, name = part.partition("=")
        if not has_name or not role or not name:
            raise ConfigError(f"--column {part!r}: write ROLE=NAME, like --column tokens=words.")
        if result.get(role, name) != name:
            raise ConfigError(f"--column: {role!r} cannot be both {result[role]!r} and {name!r}.")
        result[role] = name
    return result


def parse_task_options(given: Sequence[str] | None) -> dict[str, str]:
    """Return `{"num_beams": "2"}` from `["num-beams=2"]`.

    Raises:
        ConfigError: If a part has no `=`, or one option is given two values.
    """
    result: dict[str, str] = {}
    for part in given or ():
        key, has_value, value = part.partition("=")
        # A name before the dot is somebody's own and stays as it is.
        owner, dot, option = key.strip().rpartition(".")
        name = f"{owner}{dot}{option.replace('-', '_')}"
        if not has_value or not option:
            raise ConfigError(
                f"--task-option {part!r}: write KEY=VALUE, like --task-option num_beams=2."
            )
        if result.get(name, value) != value:
            raise ConfigError(
                f"--task-option: {name} cannot be both {result[name]!r} and {value!r}."
            )
        result[name] = value
    return result


def parse_label_map(given: Sequence[str] | None) -> dict[str, str]:
    """Return `{"Good": "good"}` from `["Good=good"]`.

    Raises:
        ConfigError: If a part has no `=`, or one label is renamed to two.
    """
    result: dict[str, str] = {}
    for part in given or ():
        old, has_new, new = part.partition("=")
        if not has_new or not old or not new:
            raise ConfigError(f"--map-label {part!r}: write OLD=NEW, like --map-label Good=good.")
        if result.get(old, new) != new:
            raise ConfigError(f"--map-label: {old!r} cannot be both {result[old]!r} and {new!r}.")
        result[old] = new
    return result
