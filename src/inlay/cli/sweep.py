"""`inlay sweep`: search settings on one base, by validation."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json, Task
from inlay.cli.table import table
from inlay.cli.train import with_settings
from inlay.cli.train_options import (
    At,
    Base,
    Epochs,
    FewShot,
    Layers,
    Method,
    RunsOut,
    Seed,
    Settings,
)
from inlay.errors import ConfigError

if TYPE_CHECKING:
    from inlay.training.sweep import Sweep


def sweep(
    *,
    data: Annotated[str, typer.Argument(metavar="DATA", help="File, folder or name.")],
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="KEY=VALUES",
            help="What to try: reduction=4,8,16 or learning_rate=log:1e-4..3e-3:5; often.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each combination.")] = 1,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Combinations, drawn at random.", show_default="all")
    ] = None,
    halving: Annotated[
        int | None,
        typer.Option(min=2, help="Let one in so many train on, again and again: 2 keeps half."),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(min=1, help="Runs in memory at once; the others wait.", show_default="all"),
    ] = None,
    base: Base = None,
    task: Task = None,
    method: Method = None,
    at: At = None,
    layers: Layers = None,
    epochs: Epochs = None,
    few_shot: FewShot = None,
    seed: Seed = None,
    settings: Settings = None,
    out: RunsOut = None,
    as_json: Json = False,
) -> int:
    """Train with combinations of settings, all on one base, and finish the best by validation."""
    given: dict[str, Any] = {
        "base": base, "task": task, "method": method, "at": at, "layers": layers,
        "epochs": epochs, "few_shot": few_shot, "seed": seed,
    }  # fmt: skip
    given = with_settings(given, settings or ())
    searched = searched_in(parameters or ())
    console.be_calm()
    from inlay.cli.progress import reporting
    from inlay.training.sweep import record
    from inlay.training.sweep import sweep as run_sweep

    with reporting() as reporter:
        found = run_sweep(
            data, searched, seeds=seeds, trials=trials, halving=halving, slots=slots,
            reporter=reporter, out=out, **given,
        )  # fmt: skip
    console.put(json.dumps(record(found), indent=2) if as_json else text_of(found))
    return 0


def searched_in(parts: Sequence[str]) -> dict[str, str]:
    """Read what is to be searched: setting -> its values as text.

    Raises:
        ConfigError: If a part has no `=`, or a setting is named twice.
    """
    searched: dict[str, str] = {}
    for part in parts:
        key, has_values, values = part.partition("=")
        key = key.strip().replace("-", "_")
        if not has_values or not key or key in searched:
            raise ConfigError(f"-p {part!r}: write KEY=VALUES once for each key.")
        searched[key] = values.strip()
    return searched


def text_of(found: "Sweep") -> str:
    """Lay out a sweep as a table, and say what to do next."""
    from inlay.cli.results import headline, number, spread, title

    keys = list(found.points[0].settings)
    rows = []
    for point in found.points:
        states = {one.state for one in point.trained}
        note = "failed" if "failed" in states else ""
        score = number(found.metric, point.mean) if point.scores else "-"
        seeds = spread(found.metric, point.scores)
        rows.append(
            [*(str(point.settings[k]) for k in keys), score, seeds, f"{point.epochs:g}", note]
        )
    header = [*keys, f"validation {title(found.metric)}", "of seeds", "epochs", ""]
    text = table(header, rows, right=header[:-1], limit=console.stdout_width())
    best = found.best
    return (
        f"{text}\n\nbest    {best.folder}, {wording.plural(len(found.points), 'combination')} "
        f"tried\ntest    {headline(best.metrics['test'])} (of the best only)\n"
        f"next    inlay show {best.folder}"
    )
