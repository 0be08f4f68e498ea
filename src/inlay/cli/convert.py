"""`inlay convert`: a saved adapter in another library's form."""

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, final

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json


@final
class To(StrEnum):
    """Forms that are written."""

    INLAY = "inlay"
    PEFT = "peft"


@final
class For(StrEnum):
    """Programs that take less than the whole of a form."""

    VLLM = "vllm"


def convert(
    *,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC", help="A saved adapter or run of Inlay, PEFT's folder, or AdapterHub's."
        ),
    ],
    to: Annotated[To, typer.Option("--to", help="The form to write.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to.")],
    base: Annotated[
        str | None,
        typer.Option(
            help="Alias, folder or Hub name of the base.",
            show_default="the one that SRC names",
        ),
    ] = None,
    reader: Annotated[
        For | None,
        typer.Option("--for", help="Write what this program loads: one rank, one scale, no head."),
    ] = None,
    without_head: Annotated[
        bool, typer.Option("--without-head", help="Leave a saved head out.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Convert a saved adapter between Inlay's, PEFT's and AdapterHub's forms.

    What is written is read again and compared; nothing is written if the form has no place for it.
    """
    from inlay.exchange.convert import convert as convert_adapter

    console.be_calm()
    done = convert_adapter(
        _adapter_in(source), out, to=to.value, base=base, without_head=without_head,
        for_vllm=reader is For.VLLM,
    )  # fmt: skip
    if as_json:
        console.put(json.dumps(dataclasses.asdict(done), indent=2, ensure_ascii=False))
        return 0
    head = f", {wording.count(done.num_head_parameters)} in the head"
    console.put(f"read     {done.source}   {done.source_form}, base {done.base}")
    console.put(
        f"adapter  {done.name!r}: {done.method} at {wording.plural(done.num_sites, 'site')}, "
        f"{wording.count(done.num_parameters)} weights{head if done.num_head_parameters else ''}"
    )
    console.put(f"wrote    {done.out}   {done.form}; read again and the same")
    for note in done.notes:
        console.put(f"note     {note}")
    return 0


def _adapter_in(folder: Path) -> Path:
    """Return the adapter's folder, if a run's was given."""
    from inlay.store.manifest import MANIFEST_FILE
    from inlay.training.run_folder import ADAPTER_FOLDER, CONFIG_FILE

    inside = folder / ADAPTER_FOLDER
    is_run = (folder / CONFIG_FILE).is_file() and (inside / MANIFEST_FILE).is_file()
    return inside if is_run else folder
