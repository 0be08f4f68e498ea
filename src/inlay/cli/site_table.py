"""`inlay sites`: where in a model adapters can act."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inlay.cli import console
from inlay.cli.options import Json
from inlay.cli.table import table

if TYPE_CHECKING:
    from torch.nn import Module

    from inlay.sites.sitemap import Site

_HEADER = ("site", "block", "kind", "module", "width", "scale", "norm")


def sites(
    *,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Alias, folder or Hub name of a base.")
    ] = "minilm",
    as_json: Json = False,
) -> int:
    """Show where in a model adapters can act."""
    from inlay.sites.probe import probe

    console.be_calm()
    found = probe(_model(model))
    if as_json:
        console.put(json.dumps(found.to_json(), indent=2))
        return 0
    rows = [_row(site) for site in found]
    right, limit = ("block", "width", "scale"), console.stdout_width()
    console.put(table(_HEADER, rows, right=right, tail=("module",), limit=limit))
    if found.unexplained:
        console.tell(
            "note: sites may be missing in blocks that were not understood: "
            + ", ".join(found.unexplained)
        )
    return 0


def _row(site: "Site") -> list[str]:
    width = f"{site.in_width} -> {site.width}" if site.in_width else str(site.width)
    scale = "" if site.is_linear else f"{site.scale:.4g}"
    block = "" if site.block is None else str(site.block)
    norm = "" if site.is_linear else site.norm
    return [site.name, block, site.kind, site.module, width, scale, norm]


def _model(name: str) -> "Module":
    """Load a base; of a folder with nothing but a configuration, make one with random weights."""
    folder = Path(name).expanduser()
    has_weights = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    if (folder / "config.json").is_file() and not has_weights:
        import torch
        from transformers import AutoConfig, AutoModel

        torch.manual_seed(0)
        model: Module = AutoModel.from_config(AutoConfig.from_pretrained(folder))
        return model.eval()
    from inlay.store.bases import load_base, resolve_base

    loaded: Module = load_base(resolve_base(name))[0]
    return loaded
