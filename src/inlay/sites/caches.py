"""A key-value cache that one copy of a batch fills for all copies."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch

from inlay.sites.batch import cache_in


def caches_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """Return the caches that a module is given, by whatever name or place."""
    named = cache_in(kwargs)
    found = [value for value in (*args, *kwargs.values()) if hasattr(value, "get_seq_length")]
    return found if named is None or any(own is named for own in found) else [*found, named]


def can_grow(cache: Any) -> bool:
    """Tell whether a cache is a list of layers of keys and values that grow by one row at a time.

    Others reserve room for all rows, keep states besides, or remember what was filled.
    """
    from transformers import cache_utils as hf  # slow to import; it is there if a cache is

    plain = (hf.DynamicLayer, hf.DynamicSlidingWindowLayer)
    if type(cache) is not hf.DynamicCache or cache.offloading:
        return False
    added = cache.layer_class_to_replicate
    return all(type(own) in plain for own in cache.layers) and (added is None or added in plain)


@final
class Filling:
    """Watches a cache that can grow while a module fills some of its layers.

    Args:
        cache: It, before the module runs.
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self._before = [dict(vars(layer)) for layer in cache.layers]

    def grow(self, rows: int, copies: int) -> bool:
        """Repeat what was filled; tell whether it was, as it had these rows.

        Args:
            rows: Of one copy.
            copies: How often they shall be there.
        """
        filled = self._filled()
        if any(len(layer.keys) != rows for layer in filled):
            return False
        for layer in filled:
            layer.reorder_cache(torch.arange(rows).repeat(copies))
        return True

    def undo(self) -> None:
        """Take back what was filled."""
        del self._cache.layers[len(self._before) :]
        for layer, before in zip(self._cache.layers, self._before, strict=True):
            vars(layer).clear()
            vars(layer).update(before)

    def _filled(self) -> Sequence[Any]:
        """Return the layers that hold something else than before."""
        known = [before.get("keys") for before in self._before]
        known += [None] * (len(self._cache.layers) - len(known))
        pairs = zip(self._cache.layers, known, strict=True)
        return [own for own, keys in pairs if own.keys is not None and own.keys is not keys]
