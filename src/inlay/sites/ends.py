"""Find the two ends of a model: the word vectors, and the last hidden state."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from inlay.sites.listen import Event, Lookup, Recording, Window
from inlay.sites.sitemap import Site


def end_sites(
    recording: Recording,
    inputs: Mapping[str, Any] | tuple[Any, ...],
    first: Mapping[str, Window],
    last: Mapping[str, Window],
    is_norm: Callable[[Event, Event], bool],
) -> list[Site]:
    """Make the `embedding`, the `start` and the `output` site of each submodel.

    The embedding site is the table that was indexed with one of the model's own integer inputs;
    without one (images, sound) it is the input of the first block, which is else the `start`,
    if that block runs once. The output site is the norm
    behind the last block, or that block.

    Args:
        recording: What happened outside of the blocks.
        inputs: The example that was run.
        first: Each submodel's first block.
        last: Each submodel's last block.
        is_norm: Tells whether the module of an (in, out) pair of events normalises.
    """
    indices = [tensor for tensor in _tensors(inputs) if not tensor.is_floating_point()]
    lookups = [found for found in recording.lookups if _is_read_with(found, indices)]
    taken: set[str] = set()
    sites = []
    starts = sorted(window.order for window in first.values())
    for submodel, window in first.items():
        earlier = [start for start in starts if start < window.order]
        since = max(earlier, default=-1)
        own = [x for x in lookups if since < x.order < window.order and x.module not in taken]
        sites.append(_embedding(submodel, window, own))
        taken.add(sites[-1].module)
        if own and recording.calls.get(window.block, 1) == 1:
            sites.append(_start(submodel, window))
        sites.append(_output(submodel, last[submodel], recording.root, is_norm))
    return sites


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _is_read_with(lookup: Lookup, indices: list[Tensor]) -> bool:
    flat = lookup.indices.flatten()
    return any(torch.equal(flat, tensor.flatten()) for tensor in indices)


def _embedding(submodel: str, block: Window, lookups: list[Lookup]) -> Site:
    name = f"{submodel}.embedding" if submodel else "embedding"
    if lookups:
        found = lookups[0]
        return Site(
            name=name, kind="embedding", module=found.module, width=found.width, submodel=submodel
        )
    return _block_input(name, "embedding", submodel, block)


def _start(submodel: str, block: Window) -> Site:
    return _block_input(f"{submodel}.start" if submodel else "start", "start", submodel, block)


def _block_input(name: str, kind: str, submodel: str, block: Window) -> Site:
    shape = block.events[0].tensor.shape
    channel_dim = 1 if len(shape) == 4 else -1
    return Site(
        name=name, kind=kind, module=block.block, point="in", width=shape[channel_dim],
        submodel=submodel, channel_dim=channel_dim,
    )  # fmt: skip


def _output(
    submodel: str, block: Window, root: list[Event], is_norm: Callable[[Event, Event], bool]
) -> Site:
    name = f"{submodel}.output" if submodel else "output"
    result = block.events[-1]
    module, shape = block.block, result.tensor.shape
    for before, after in pairwise(root):
        if (
            (before.point, after.point) == ("in", "out")
            and before.module == after.module
            and before.order > result.order
            and before.tensor.shape == after.tensor.shape == shape
            and torch.equal(before.value, result.value)
            and is_norm(before, after)
        ):
            module = after.module
            break
    channel_dim = 1 if len(shape) == 4 else -1
    return Site(
        name=name, kind="output", module=module, width=shape[channel_dim], submodel=submodel,
        channel_dim=channel_dim,
    )  # fmt: skip
