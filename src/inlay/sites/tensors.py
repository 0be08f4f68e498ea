"""Find and replace the first floating-point tensor in what a module takes or returns."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

Index = Tensor | slice
"""Which entries of a first dimension: their numbers, or from where to where if they lie so."""


def entries(tensor: Tensor, index: Index) -> Tensor:
    """Return some entries of the first dimension; no copy if they lie one behind the other."""
    return tensor[index] if isinstance(index, slice) else tensor.index_select(0, index)


def num_entries(index: Index) -> int:
    """Count the entries that an index takes."""
    return index.stop - index.start if isinstance(index, slice) else len(index)


def is_float(value: object) -> bool:
    """Tell whether a value is a floating-point tensor."""
    return isinstance(value, Tensor) and value.is_floating_point()


def first_float(value: object) -> Tensor | None:
    """Return the first floating-point tensor in a tensor, tuple, list or mapping, else `None`."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            found = first_float(item)
            if found is not None:
                return found
    return None


def replace_first_float(value: Any, new: Tensor) -> Any:
    """Return `value` with its first floating-point tensor replaced, containers kept as they are.

    Args:
        value: What a module returned: a tensor, tuple, named tuple, list or mapping.
        new: The tensor to put in.
    """
    if isinstance(value, Tensor):
        return new
    if isinstance(value, Mapping):
        for key, item in value.items():
            if first_float(item) is not None:
                changed = value.copy() if hasattr(value, "copy") else dict(value)
                changed[key] = replace_first_float(item, new)
                return changed
    for index, item in enumerate(value):
        if first_float(item) is not None:
            items = list(value)
            items[index] = replace_first_float(item, new)
            if isinstance(value, list):
                return items
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def first_float_argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return the first floating-point tensor among a call's arguments."""
    found = first_float(args)
    return found if found is not None else first_float(kwargs)


def first_indices(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return the first tensor of whole numbers among a call's arguments."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor) and not value.is_floating_point():
            return value
    return None


def replace_first_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], new: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a call's arguments with the first floating-point tensor replaced."""
    if first_float(args) is not None:
        return tuple(replace_first_float(args, new)), kwargs
    return args, dict(replace_first_float(kwargs, new))
