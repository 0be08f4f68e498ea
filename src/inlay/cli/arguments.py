"""What is done to the arguments before they are parsed: spellings and names of other tools."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

_FORCE = {"--overwrite-output-dir", "--overwrite"}


class Rewritten(NamedTuple):
    """Arguments in our spelling, and one note for each name that was another tool's."""

    arguments: list[str]
    notes: list[str]


def rewrite(arguments: Sequence[str], options: Mapping[str, Collection[str]]) -> Rewritten:
    """Accept `--learning_rate` for `--learning-rate`, and on `train` every setting as an option.

    Args:
        arguments: As they were given.
        options: Command -> its options.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    own = options.get(command, ())
    out: list[str] = []
    notes: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--":
            out += [word, *rest]
        elif not word.startswith("--"):
            out.append(word)
        else:
            name, has_value, value = word.partition("=")
            name = "--" + name[2:].replace("_", "-")
            if command == "train" and name not in own and name != "--help":
                out += _setting(name, value if has_value else None, rest, own, notes)
            else:
                out.append(name + has_value + value)
    return Rewritten(out, notes)


def settings() -> list[str]:
    """List every setting of `train` as an option, with the names other tools use."""
    # Imported here: pydantic and PyYAML cost a third of the time that `--help` may take.
    from inlay.training.config import ALIASES, TrainConfig

    return ["--" + name.replace("_", "-") for name in (*TrainConfig.model_fields, *ALIASES)]


def _setting(
    name: str,
    value: str | None,
    rest: Iterator[str],
    own: Collection[str],
    notes: list[str],
) -> list[str]:
    """Return an option that `train` does not list in terms of those it does."""
    from inlay.training.config import ALIASES, TrainConfig

    if name in _FORCE:
        notes.append(f"{name} is called --force here")
        return ["--force"]
    key = name[2:].replace("-", "_")
    ours = ALIASES.get(key, key)
    if ours not in TrainConfig.model_fields:
        return [name if value is None else f"{name}={value}"]
    option = "--" + ours.replace("_", "-")
    if ours != key:
        notes.append(f"{name} is called {option} here")
    if option in own:
        return [option if value is None else f"{option}={value}"]
    if value is None:
        value = next(rest, None)
    return [option] if value is None else ["--set", f"{ours}={value}"]
