"""`inlay depth`: how many of the upper blocks need adapters, on your data."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json, Task
from inlay.cli.table import table
from inlay.cli.train import with_settings
from inlay.cli.train_options import At, Base, Epochs, FewShot, Method, RunsOut, Seed, Settings

if TYPE_CHECKING:
    from inlay.training.depth import Depth

_HEADER = ("layers", "blocks", "validation", "95 % interval", "of seeds", "seconds", "weights", "")


def depth(
    *,
    data: Annotated[str, typer.Argument(metavar="DATA", help="File, folder or name.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each depth.")] = 1,
    base: Base = None,
    task: Task = None,
    method: Method = None,
    at: At = None,
    epochs: Epochs = None,
    few_shot: FewShot = None,
    seed: Seed = None,
    settings: Settings = None,
    out: RunsOut = None,
    as_json: Json = False,
) -> int:
    """Train with adapters in the last block, a quarter, half, most and all of the blocks.

    Validation says how few suffice; the same command goes on after an interruption.
    """
    given: dict[str, Any] = {
        "base": base, "task": task, "method": method, "at": at, "epochs": epochs,
        "few_shot": few_shot, "seed": seed,
    }  # fmt: skip
    given = with_settings(given, settings or ())
    console.be_calm()
    from inlay.cli.progress import reporting
    from inlay.training.depth import depth as run_depth
    from inlay.training.depth import record

    with reporting() as reporter:
        found = run_depth(data, seeds=seeds, reporter=reporter, out=out, **given)
    console.put(json.dumps(record(found), indent=2) if as_json else text_of(found))
    return 0


def text_of(found: "Depth") -> str:
    """Lay out what was found as a table, with what is recommended."""
    from inlay.cli.results import between, headline, number, spread, title

    recommended = found.recommended
    star = console.sign("★", "*")
    rows = []
    for one in found.tried:
        interval = one.interval
        rows.append(
            [
                one.layers,
                str(one.num_blocks),
                number(found.metric, one.mean) if one.scores else "-",
                "" if interval is None else between(found.metric, *interval),
                spread(found.metric, one.scores),
                f"{one.seconds:.1f}",
                wording.count(one.num_adapter_parameters),
                star if one is recommended else "" if one.is_whole else "failed",
            ]
        )
    text = table(_HEADER, rows, right=_HEADER[1:-1], limit=console.stdout_width())
    run = recommended.trained[0].run
    return (
        f"{text}\n\nvalidation is {title(found.metric)}\n"
        f'advice  --layers "{recommended.layers}": the fewest blocks within a standard error of '
        f"the best\ntest    {headline(run.metrics['test'])} (of {run.folder})\n"
        f"next    inlay show {run.folder}"
    )
