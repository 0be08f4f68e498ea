"""The composition that is active, as the hooks see it at every forward pass."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

from torch import Tensor

from inlay.adapters.dropping import Dropping
from inlay.adapters.entry import Entry, reads_stream
from inlay.compose.nodes import Composition, names_in
from inlay.errors import AdapterError
from inlay.methods.base import (
    AbstractAdapterLayer,
    AbstractAttentionLayer,
    AbstractLayer,
    AbstractPromptLayer,
)
from inlay.sites.calls import Call
from inlay.sites.hooks import Read

_UNSET = object()
"""No composition of this thread's own: the one set for all threads counts."""


@final
class _ThreadState(threading.local):
    """What was set in this thread only, and the forward pass that is running in it."""

    def __init__(self) -> None:
        self.composition: Any = _UNSET
        self.call = Call()

    def __reduce__(self) -> tuple[type["_ThreadState"], tuple[()]]:
        return _ThreadState, ()


@final
class Running:
    """Runs the active composition's layers at each site.

    Args:
        entry: Gives the adapter of a name.
        merged: Gives the name of the adapter that is merged into the base, or `None`.
        dropping: Says which layers are left out.
    """

    def __init__(
        self,
        entry: Callable[[str], Entry],
        merged: Callable[[], str | None],
        dropping: Dropping,
    ) -> None:
        self.entry = entry
        self.merged = merged
        self.dropping = dropping
        self.for_all: Composition = None
        self.thread = _ThreadState()

    @property
    def composition(self) -> Composition:
        """The composition that runs in this thread."""
        own = self.thread.composition
        return self.for_all if own is _UNSET else own

    @contextmanager
    def in_this_thread(self, composition: Composition) -> Iterator[None]:
        """Set a composition in this thread for the length of a `with` block."""
        before = self.thread.composition
        self.thread.composition = composition
        try:
            yield
        finally:
            self.thread.composition = before

    def wants_stream(self, site: str) -> bool:
        """Tell whether an active adapter reads the residual stream at a site."""
        return any(reads_stream(layer) for layer in self._layers(site))

    def has_prefix(self, site: str) -> bool:
        """Tell whether an active adapter gives keys and values to the attention at a site."""
        return any(isinstance(layer, AbstractAttentionLayer) for layer in self._layers(site))

    def prefixes(self, site: str) -> list[tuple[Tensor, Tensor]]:
        """Return the keys and values of the active adapters, in the order of the composition."""
        return [x() for x in self._layers(site) if isinstance(x, AbstractAttentionLayer)]

    def act(self, site: str, x: Tensor, read: Read) -> Tensor:
        """Return what the active composition makes of `x` at a site."""
        layers = [x for x in self._layers(site) if isinstance(x, AbstractAdapterLayer)]
        for position, layer in enumerate(layers):
            # The layers after the first see `x` as the ones before have left it.
            inputs = x if layer.reads == "x" else read(layer.reads, x if position else None)
            mask = self._mask_for(layer, x)
            x = layer(inputs, x) if mask is None else layer(inputs, x, mask)
        return x

    def act_as_head(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the last active adapter's copy of a head of the model gives."""
        for name in reversed(names_in(self.composition)):
            head = self.entry(name).own_heads.get(path)
            if head is not None:
                return head(*args, **kwargs)
        return None

    def note_call(self, call: Call) -> None:
        """Remember the padding of the forward pass that starts in this thread."""
        self.thread.call = call
        if call.is_whole:
            self.dropping.draw()

    def prompts(self, site: str) -> list[Tensor]:
        """Return the vectors of the active adapters, in the order of the composition."""
        return [x() for x in self._layers(site) if isinstance(x, AbstractPromptLayer)]

    def _layers(self, site: str) -> list[AbstractLayer]:
        found = []
        merged = self.merged()
        for name in names_in(self.composition):
            layer = self.entry(name).layer_at(site)
            if layer is None or name == merged:
                continue
            if not self.dropping.drops(site, in_training=layer.training):
                found.append(layer)
        undoing = [layer for layer in found if layer.undoes]
        return [layer for layer in found if not layer.undoes] + undoing[::-1]

    def _mask_for(self, layer: AbstractAdapterLayer, x: Tensor) -> Tensor | None:
        call = self.thread.call
        if layer.counts_positions:
            return call.seen(x)
        if not layer.sees_neighbours:
            return None
        if call.past:
            raise AdapterError(
                "the active adapter looks at neighbouring positions, which a key-value cache does "
                "not hold; generate with use_cache=False."
            )
        return call.padding(x)
