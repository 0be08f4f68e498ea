"""Read a PEFT folder back and compare it with the adapter that it was made from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_config import read_config
from inlay.exchange.peft_reading import add_from_peft
from inlay.exchange.peft_tensors import read_tensors
from inlay.methods.base import (
    AbstractAttentionLayer,
    AbstractLayer,
    AbstractMergeableLayer,
    AbstractPromptLayer,
)


@contextmanager
def evaluating(entry: Entry) -> Iterator[None]:
    """Switch an adapter's dropout off for the length of a `with` block."""
    was_training = entry.training
    entry.eval()
    try:
        yield
    finally:
        entry.train(was_training)


def check_same(folder: Path, adapters: Adapters, entry: Entry, *, without_head: bool) -> None:
    """Load a folder beside the adapter that it was made from, and compare what both compute.

    Raises:
        FormatError: If they differ.
    """
    name = f"{entry.name} (read again)"
    while name in adapters.names:
        name += "'"
    config, tensors = read_config(folder), read_tensors(folder)
    add_from_peft(config, tensors, adapters, name, without_head=without_head)
    again = adapters.entry(name)
    try:
        if set(again.layers) != set(entry.layers):
            raise FormatError(f"{folder}: the file that was written has other places.")
        with torch.no_grad(), adapters.original_weights(), evaluating(entry), evaluating(again):
            for site, layer in entry.layers.items():
                if not _agree(layer, again.layers[site]):
                    raise FormatError(f"{folder}: what was written for {site!r} is not the same.")
        own = _parts(entry, without_head=without_head)
        if not _equal(own, _parts(again, without_head=without_head)):
            raise FormatError(f"{folder}: what was written of the base or a head is not the same.")
    finally:
        adapters.remove(name)


def _parts(entry: Entry, *, without_head: bool) -> dict[str, Tensor]:
    """Return what an adapter has beside its layers."""
    kinds = ("weight/",) if without_head else ("weight/", "own_head/")
    return {key: value for key, value in entry.tensors().items() if key.startswith(kinds)}


def _agree(one: AbstractLayer, two: AbstractLayer) -> bool:
    if isinstance(one, AbstractMergeableLayer) and isinstance(two, AbstractMergeableLayer):
        update, again = one.weight_update(), two.weight_update()
        factors, others = one.bias_factors(), two.bias_factors()
        same = factors is others or (
            factors is not None and others is not None and torch.equal(factors, others)
        )
        return same and _close(update, again)
    if isinstance(one, AbstractPromptLayer) and isinstance(two, AbstractPromptLayer):
        return _close(one(), two())
    if isinstance(one, AbstractAttentionLayer) and isinstance(two, AbstractAttentionLayer):
        pairs = zip(one(), two(), strict=True)
        return all(_close(a, b) for a, b in pairs)
    return False


def _close(one: Tensor, two: Tensor) -> bool:
    """Tell whether two tensors are the same but for the rounding of what gave them."""
    return torch.allclose(one, two, rtol=0, atol=float(one.abs().max()) * 1e-5)


def _equal(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
