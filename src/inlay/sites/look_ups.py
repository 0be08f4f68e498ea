"""Refuse a pass on given word vectors while an adapter acts where words are looked up."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from inlay.errors import AdapterError
from inlay.sites.sitemap import SiteMap


class TableSource(Protocol):
    """What acts on what a table gives."""

    def acts_at(self, site: str) -> bool:
        """Tell whether what is active has a layer at a site, in this forward pass."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TablePlace:
    """A table of word vectors, and the block that is the first to read what it gave."""

    site: str
    table: str
    """Path of the table."""
    block: str
    """Path of the block."""
    calls: int = 1
    """How often that block runs after one look-up."""


def table_places(sites: SiteMap, names: Iterable[str]) -> list[TablePlace]:
    """List those of these sites at which words are looked up, with the first block behind each.

    Args:
        sites: The model's sites.
        names: Names of sites.
    """
    places = []
    for site in map(sites.__getitem__, names):
        if site.kind != "embedding" or site.point != "out":
            continue
        blocks = [s for s in sites if (s.kind, s.submodel, s.block) == ("block", site.submodel, 0)]
        places += [
            TablePlace(site=site.name, table=site.module, block=b.module, calls=b.calls)
            for b in blocks
        ]
    return places


@final
class LookUps(threading.local):
    """What was looked up in this thread and is not read yet; a copy of a model starts with none."""

    def __init__(self) -> None:
        self.left: dict[str, int] = {}
        """Site -> how often the block behind it may still run before the next look-up."""

    def __reduce__(self) -> tuple[type["LookUps"], tuple[()]]:
        return LookUps, ()


def watch_look_ups(
    model: nn.Module, place: TablePlace, source: TableSource, state: LookUps
) -> list[RemovableHandle]:
    """Hook a table and the first block behind it, which then refuses to run without a look-up.

    Vectors that the caller makes with the table itself went through the adapter there, as those
    that the model makes from words do. Of other vectors nobody can tell what it would have made.

    Args:
        model: The base.
        place: Where.
        source: Tells whether anything acts there.
        state: What was looked up.
    """
    table, block = model.get_submodule(place.table), model.get_submodule(place.block)
    note, check = _Note(place, source, state), _Check(place, source, state)
    forget = _Forget(place, state)
    # A part of the model that looks up and reads may be called by itself, and break off.
    stacks = [module for module in model.modules() if {table, block} <= set(module.modules())]
    return [
        table.register_forward_hook(note),
        block.register_forward_pre_hook(check),
        *(stack.register_forward_hook(forget, always_call=True) for stack in stacks),
    ]


@final
class _Note:
    """Notes that words were looked up, if an adapter acted on them there."""

    def __init__(self, place: TablePlace, source: TableSource, state: LookUps) -> None:
        self.place, self.source, self.state = place, source, state

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        acts = self.source.acts_at(self.place.site)
        self.state.left[self.place.site] = self.place.calls if acts else 0


@final
class _Forget:
    """Forgets, behind a pass of the model or a stack, what it looked up and did not read."""

    def __init__(self, place: TablePlace, state: LookUps) -> None:
        self.place, self.state = place, state

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.state.left.pop(self.place.site, None)


@final
class _Check:
    """Refuses to run the first block on what the table has not given."""

    def __init__(self, place: TablePlace, source: TableSource, state: LookUps) -> None:
        self.place, self.source, self.state = place, source, state

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        site, left = self.place.site, self.state.left
        if left.get(site):
            left[site] -= 1
            return
        is_recomputed = torch._C._current_graph_task_id() != -1  # checkpointing, in the backward
        if self.source.acts_at(site) and not is_recomputed:
            raise AdapterError(
                f"the active adapter acts where words are looked up, at site {site!r}, but none "
                "were: the model was given word vectors (inputs_embeds), which the adapter would "
                "leave as they are. Pass input_ids; or make the vectors with the model's own "
                f"table {self.place.table!r} while the adapter is active, anew for each pass; or "
                "leave the adapter out with model.adapters.using(None)."
            )
