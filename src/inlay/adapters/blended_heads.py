"""Which head a blended adapter gets: none is dropped unless that was asked for."""

import copy
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from inlay.adapters.entry import Entry
from inlay.errors import AdapterError, ConfigError

Heads = Literal["same", "average", "leave-out"]


def blended_heads(
    entries: Sequence[Entry], weights: Sequence[float], heads: str, head_of: Entry | None
) -> tuple[nn.Module | None, dict[str, Tensor], str]:
    """Return the new adapter's task head, the tensors of its heads, and where they are from.

    Args:
        entries: The adapters.
        weights: One for each; an average is divided by their sum.
        heads: `"same"` takes heads that are equal to the last bit, `"average"` the weighted mean,
            `"leave-out"` none.
        head_of: The adapter whose heads are taken instead.

    Returns:
        A module for the task head or `None`; `head/...` and `own_head/...` as in
        `Entry.tensors`; and a word for the record.

    Raises:
        ConfigError: If `heads` is not one of the three.
        AdapterError: If the heads differ and nothing was asked for, or cannot be averaged.
    """
    if heads not in get_args(Heads):
        raise ConfigError(f"blend(heads={heads!r}): one of {', '.join(get_args(Heads))}.")
    if head_of is not None:
        if heads != "same":
            raise ConfigError(f"blend: give head_of={head_of.name!r} or heads={heads!r}, not both.")
        own = _tensors(head_of)
        if not own:
            raise AdapterError(f"blend: head_of={head_of.name!r} has no head to take.")
        return copy.deepcopy(head_of.head), own, f"of {head_of.name!r}"
    each = [_tensors(entry) for entry in entries]
    if heads == "leave-out":
        return None, {}, "left out"
    if not any(each):
        return None, {}, "none"
    if heads == "same":
        for entry, own in zip(entries[1:], each[1:], strict=True):
            if own.keys() != each[0].keys() or any(
                not torch.equal(tensor, own[key]) for key, tensor in each[0].items()
            ):
                raise AdapterError(
                    f"blend: the heads of {entries[0].name!r} and {entry.name!r} differ. Say what "
                    "becomes of them: head_of takes one of them, heads=average averages heads "
                    "for the same labels in the same order, heads=leave-out keeps none."
                )
        return copy.deepcopy(entries[0].head), each[0], "the same"
    return copy.deepcopy(entries[0].head), _average(entries, each, weights), "averaged"


def _average(
    entries: Sequence[Entry], each: Sequence[Mapping[str, Tensor]], weights: Sequence[float]
) -> dict[str, Tensor]:
    total = sum(weights)
    if total <= 0:
        raise AdapterError(
            f"blend(heads='average'): the weights add up to {total:g}, so there is no mean of the "
            "heads; use head_of=NAME."
        )
    first = entries[0]
    for entry, own in zip(entries[1:], each[1:], strict=True):
        if type(entry.head) is not type(first.head) or _shapes(own) != _shapes(each[0]):
            raise AdapterError(
                f"blend(heads='average'): the heads of {first.name!r} and {entry.name!r} have "
                "different shapes, so they are for different labels; use head_of=NAME or "
                "heads='leave-out'."
            )
    averaged = {}
    for key, tensor in each[0].items():
        parts = [own[key] for own in each]
        if tensor.is_floating_point():
            mean = sum(w / total * p.double() for w, p in zip(weights, parts, strict=True))
            averaged[key] = torch.as_tensor(mean)
        elif all(torch.equal(part, tensor) for part in parts):
            averaged[key] = tensor
        else:
            raise AdapterError(
                f"blend(heads='average'): {key!r} holds whole numbers that differ and have no "
                "mean; use head_of=NAME."
            )
    return averaged


def _tensors(entry: Entry) -> dict[str, Tensor]:
    return {
        key: tensor.detach()
        for key, tensor in entry.tensors().items()
        if key.startswith(("head/", "own_head/"))
    }


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}
