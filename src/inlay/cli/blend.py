"""`inlay blend`: a new adapter out of saved ones."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json
from inlay.errors import ConfigError

if TYPE_CHECKING:
    from inlay.evaluation.blending import BlendSaved


def blend(
    *,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN...", help="Runs, or saved adapters, of one base."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new adapter.")],
    weights: Annotated[
        str | None, typer.Option(help="One for each run: 0.6,0.4.", show_default="equal")
    ] = None,
    method: Annotated[
        str, typer.Option(help="linear, task-arithmetic, ties, dare, svd or cat.")
    ] = "linear",
    rank: Annotated[
        int | None, typer.Option(help="Rank of a new lora.", show_default="the sum of theirs")
    ] = None,
    density: Annotated[
        float | None, typer.Option(help="Share of the entries that ties and dare keep.")
    ] = None,
    scaling: Annotated[
        float, typer.Option(help="Multiplies the result of task-arithmetic, ties and dare.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="For dare.")] = 0,
    origin: Annotated[
        str | None, typer.Option(metavar="RUN", help="What all of them were trained from.")
    ] = None,
    heads: Annotated[
        str, typer.Option(help="same, average (for the same labels) or leave-out.")
    ] = "same",
    head_of: Annotated[
        str | None, typer.Option(metavar="RUN", help="Take head, labels and task of this run.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Another place of the same base.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the new adapter.", show_default="its folder's")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an adapter in --out.")] = False,
    as_json: Json = False,
) -> int:
    """Make a new adapter out of saved ones, by what they do."""
    numbers = parse_weights(weights, len(runs))
    _check_out(out, runs, force=force)
    console.be_calm()
    from inlay.evaluation.blending import blend_saved

    given: Any = runs
    if numbers is not None and len(set(runs)) == len(runs):
        given = dict(zip(runs, numbers, strict=True))
    settings: dict[str, Any] = {"method": method, "heads": heads}
    done = blend_saved(
        given, out, rank=rank, density=density, scaling=scaling, seed=seed, origin=origin,
        head_of=head_of, base=base, name=name, **settings,
    )  # fmt: skip
    for note in done.notes:
        console.tell(f"note: {note}")
    _print(done, as_json=as_json)
    return 0


def _check_out(out: Path, runs: Sequence[str], *, force: bool) -> None:
    """Refuse to write over anything, before anything is loaded."""
    if any(out.resolve() in (Path(r).resolve(), (Path(r) / "adapter").resolve()) for r in runs):
        raise ConfigError(f"--out {out} is one of the runs; choose another folder.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not force:
        raise ConfigError(f"{out} exists; choose another --out, or use --force.")


def parse_weights(text: str | None, number: int) -> list[float] | None:
    """Return `[0.6, 0.4]` from `0.6,0.4`; `None` stays `None`.

    Raises:
        ConfigError: If one is no number, or there are not as many as runs.
    """
    if text is None:
        return None
    found = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError as error:
            raise ConfigError(
                f"--weights {text}: {part.strip()!r} is no number; write them as 0.6,0.4."
            ) from error
    if len(found) != number:
        raise ConfigError(
            f"--weights {text}: {wording.plural(len(found), 'weight')} for "
            f"{wording.plural(number, 'run')}; give one for each."
        )
    return found


def _print(done: "BlendSaved", *, as_json: bool) -> None:
    made, folder = done.blend, str(done.folder)
    if as_json:
        plain = {"folder": folder, "name": made.name, "errors": made.errors} | made.record()
        console.put(json.dumps(plain, indent=2, ensure_ascii=False))
        return
    recipe = dict(made.recipe)
    way, weights = recipe.pop("method"), recipe.pop("weights")
    console.put(f"blend    {way}{''.join(f', {key} {value}' for key, value in recipe.items())}")
    for run, weight in weights.items():
        console.put(f"         {weight:g} x {run}")
    console.put(f"heads    {made.heads}")
    if made.errors:
        console.put(f"rank     leaves out {100 * made.error:.3g} % of the update (Frobenius norm)")
    verb = "show" if made.heads == "left out" else "evaluate"
    console.put(f"next     inlay {verb} {shlex.quote(folder)}")
