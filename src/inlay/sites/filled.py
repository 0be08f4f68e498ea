"""Remember how caches were filled behind prompts whose lengths differ from row to row."""

import threading
from collections.abc import Mapping
from typing import Any, final
from weakref import WeakKeyDictionary

import torch

from inlay.errors import AdapterError
from inlay.sites.vectors import Vectors


def seen_by(cache: Any) -> int:
    """Return how many positions a key-value cache holds."""
    length = getattr(cache, "get_seq_length", None)
    return int(length()) if callable(length) else 0


@final
class Filled(threading.local):
    """The caches that were filled in this thread behind rows of different lengths.

    In such a cache a shorter row has padding behind the words that it began with. What comes later
    must know where.
    """

    def __init__(self) -> None:
        self.caches: WeakKeyDictionary[Any, tuple[torch.Tensor, int]] = WeakKeyDictionary()
        self.started: list[tuple[torch.Tensor, int]] = []
        """Of the pass that runs; changed in place, as what compiled code sets here is lost."""

    def __reduce__(self) -> tuple[type["Filled"], tuple[()]]:
        return Filled, ()

    def start(self, cache: Any) -> None:
        """Take note of a pass that starts: forget one that was broken off, and what was emptied.

        Args:
            cache: What the pass is given to go on with or to fill, if it is.
        """
        self.started.clear()
        if self.caches and hasattr(cache, "__weakref__") and not seen_by(cache):
            self.caches.pop(cache, None)

    def begin(self, vectors: Vectors, words: int) -> None:
        """Take note that the pass puts vectors in front of this many words."""
        if vectors.lengths is not None:
            self.started[:] = [(vectors.lengths, words)]

    def note(self, output: Any) -> None:
        """Take note of the cache in what that pass returned."""
        if not self.started:
            return
        started = self.started.pop()
        values = output.values() if isinstance(output, Mapping) else output
        for value in values if not isinstance(values, torch.Tensor) else ():
            if callable(getattr(value, "get_seq_length", None)):
                self.caches[value] = started

    def check(self, cache: Any, vectors: Vectors | None) -> None:
        """Refuse to go on with a cache that was filled behind prompts of other lengths.

        Args:
            cache: What was filled.
            vectors: Those of the composition that is active now, if it has any.

        Raises:
            AdapterError: If it was.
        """
        known, _ = self.caches.get(cache, (None, 0))
        lengths = None if vectors is None else vectors.lengths
        if known is None and lengths is None:
            return
        if known is None or lengths is None or not torch.equal(known, lengths):
            raise AdapterError(
                "the cache was not filled behind the prompts of this composition: it is behind "
                f"{_said(known)}, and what is active has {_said(lengths)}. Activate what it was "
                "filled under, or start again without it."
            )

    def first_words(self, cache: Any, more: int) -> int:
        """Return how many words the vectors were put in front of when the cache was filled.

        It is 0 if the prompts of all rows were of one length, as nothing is behind the words then.

        Args:
            cache: What was filled.
            more: How many words come now.

        Raises:
            AdapterError: If the lengths differ and the cache lets positions go by how far back
                they are in it, or keeps no keys.
        """
        if cache not in self.caches:
            return 0
        _, words = self.caches[cache]
        layers = getattr(cache, "layers", ())
        windows = [
            getattr(x, "sliding_window", None) or x.max_cache_len
            for x in layers
            if getattr(x, "is_sliding", False)
        ]
        if any(window < seen_by(cache) + more for window in windows):
            raise AdapterError(
                f"this base sees {min(windows)} positions back, and behind prompts of different "
                "lengths a cache has padding among them; generate with use_cache=False, or use "
                "prompts of one length."
            )
        if any(hasattr(x, "recurrent_states") for x in layers):
            raise AdapterError(
                "behind prompts of different lengths only a cache of keys and values can be "
                "continued; generate with use_cache=False, or use prompts of one length."
            )
        return words


def _said(lengths: torch.Tensor | None) -> str:
    if lengths is None:
        return "prompts of one length or none"
    return f"prompts of {', '.join(map(str, lengths.tolist()))} vectors in its rows"
