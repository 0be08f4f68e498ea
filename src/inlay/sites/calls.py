"""Watch the calls of the whole model: the rows of its batch, and repeating them."""

import threading
from collections.abc import Mapping
from typing import Any, Protocol, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from inlay.errors import CompositionError
from inlay.sites.batch import batch_rows, cache_in, repeat_batch
from inlay.sites.fork import Fork, can_fork
from inlay.sites.front_keys import FrontPass
from inlay.sites.padding import Call
from inlay.sites.reading import Read
from inlay.sites.replay import Trunk
from inlay.sites.vectors import Vectors


class Actor(Protocol):
    """What acts at the sites."""

    def wants_stream(self, site: str) -> bool:
        """Tell whether the residual stream will be read at this site in this forward pass."""

    def act(self, site: str, x: Tensor, read: Read) -> Tensor:
        """Return the new `x` of a site (channels last); the same object if nothing acts."""

    def acts_at(self, site: str) -> bool:
        """Tell whether anything acts on what a table gives; see `TableSource`."""

    def act_as_head(
        self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        """Return what the active adapter's own head gives, or `None` for the base's `output`."""

    def copies(self) -> int:
        """Tell how often the batch of a forward pass that starts is to be repeated.

        0 if rows do not matter; 1 if each argument must have one entry for each row.
        """

    def trunks(self) -> list[Trunk]:
        """Return the blocks that are the same for all copies of a repeated batch."""

    def has_prefix(self, site: str) -> bool:
        """Tell whether there are keys and values for an attention; see `PrefixSource`."""

    def prefixes(self, site: str, query: Tensor, states: Tensor | None) -> list[FrontPass]:
        """Return keys and values for an attention; see `PrefixSource`."""

    def shift(self, words: Tensor) -> int | Tensor:
        """Return by how many positions words stand further back; see `ShiftSource`."""

    def inserted(self) -> int:
        """Return how many vectors a cache holds beside words; see `ShiftSource`."""

    def returns_prompts(self, site: str) -> bool:
        """Tell whether vectors in front stay in what is returned; see `PromptSource`."""

    def prompts(self, site: str, words: Tensor) -> Vectors | None:
        """Return vectors for the front of the sequence; see `PromptSource`."""

    def note_start(self, rows: int | None) -> None:
        """Take note of a forward pass that starts.

        Args:
            rows: Rows of its batch, repeated ones included; `None` if it is not known.
        """

    def note_call(self, call: Call) -> None:
        """Take note of a stack that starts to run: its padding, and whether it continues."""

    def note_cut(self, is_cut: bool) -> None:  # noqa: FBT001
        """Take note whether the module that runs is given one copy of the batch only."""

    def note_end(self) -> int | None:
        """Take note that the forward pass is over; return its rows if they were repeated."""


@final
class PassState(threading.local):
    """Streams read in this thread's forward pass; a copy of a model starts with none."""

    def __init__(self) -> None:
        self.streams: dict[str, Tensor] = {}
        self.shapes: dict[str, torch.Size] = {}
        self.turns: dict[str, str] = {}
        """Module that gives the updates of several sublayers -> the site whose turn it is."""
        self.repeated: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        """Caches that were filled by a repeated batch -> its rows, all copies together."""
        self.forks: list[Fork] = []
        """Of the pass that runs; changed in place, as what compiled code sets here is lost."""

    def __reduce__(self) -> tuple[type["PassState"], tuple[()]]:
        return PassState, ()

    def end_forks(self) -> None:
        """Take the hooks of forks out."""
        while self.forks:
            self.forks.pop().remove()


@final
class CallHook:
    """Tells the actor of each forward pass of the whole model, and repeats the batch for it."""

    def __init__(self, actor: Actor, state: PassState) -> None:
        self.actor, self.state = actor, state

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the call's arguments if they change, else `None`."""
        actor = self.actor
        self.state.turns.clear()  # of a pass that was broken off
        self.state.end_forks()
        actor.note_cut(False)
        cache = cache_in(kwargs)
        length = getattr(cache, "get_seq_length", None)
        has_cache = bool(length()) if callable(length) else cache is not None
        rows = batch_rows(getattr(module, "main_input_name", "input_ids"), args, kwargs)
        copies = actor.copies()
        if copies:
            args, kwargs, rows = self.repeated(args, kwargs, rows, copies, has_cache=has_cache)
        if copies > 1 and not has_cache and can_fork(module, kwargs):
            self.state.forks.append(Fork(module, actor.trunks(), copies, actor.note_cut))
        actor.note_start(rows)
        return (args, kwargs) if copies else None

    def repeated(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        rows: int | None,
        copies: int,
        *,
        has_cache: bool,
    ) -> tuple[tuple[Any, ...], dict[str, Any], int]:
        """Repeat the batch, unless it continues one that was repeated and has all rows."""
        if rows is None:
            raise CompositionError(
                "the active composition is about rows, but the model was given no tensor."
            )
        known = self.state.repeated
        if not has_cache or copies == 1:
            args, kwargs = repeat_batch(args, kwargs, rows=rows, copies=copies, grown=False)
            return args, kwargs, rows * copies
        total = known.get(cache_in(kwargs))
        if total is None or total % copies or rows not in (total, total // copies):
            raise CompositionError(
                "the cache was not filled under this Parallel; start again without it, or give "
                f"{total or 'the'} rows it was filled with."
            )
        args, kwargs = repeat_batch(args, kwargs, rows=total // copies, copies=copies, grown=True)
        return args, kwargs, total


@final
class EndHook:
    """Tells the actor that a forward pass of the whole model is over."""

    def __init__(self, actor: Actor, state: PassState) -> None:
        self.actor, self.state = actor, state

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Remember a cache that now holds repeated rows, and end a fork."""
        self.state.end_forks()
        rows = self.actor.note_end()
        cache = cache_in(output) if isinstance(output, Mapping) else None
        if rows is not None and hasattr(cache, "__weakref__"):
            self.state.repeated[cache] = rows
