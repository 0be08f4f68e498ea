"""Repeat the batch at a model's inputs: which arguments have one entry for each row."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from inlay.errors import CompositionError

CACHES = ("past_key_values", "cache_params")
"""Arguments that hold what earlier calls computed; they have grown with the rows already."""

_NOT_ROWS = frozenset(
    {*CACHES, "cache_position", "head_mask", "decoder_head_mask", "cross_attn_head_mask",
     "num_items_in_batch"}
)  # fmt: skip
"""Arguments whose first dimension is never the batch, whatever its size."""

_MAIN = ("inputs_embeds", "decoder_input_ids", "decoder_inputs_embeds")


def cache_in(arguments: Mapping[str, Any]) -> Any:
    """Return the cache among a call's arguments or results, or `None`."""
    return next((arguments[n] for n in CACHES if arguments.get(n) is not None), None)


def batch_rows(main: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Count the rows of a call's batch, or return `None` if it has no tensor.

    Args:
        main: The name of the model's main input.
        args: Positional arguments of the call.
        kwargs: Its named arguments.
    """
    named = [kwargs.get(name) for name in (main, *_MAIN)]
    others = [value for name, value in kwargs.items() if name not in _NOT_ROWS]
    for value in (*named[:1], *args, *named[1:], *others):
        if isinstance(value, Tensor) and value.ndim:
            return len(value)
    return None


def repeat_batch(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], *, rows: int, copies: int, grown: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a call's arguments with the batch repeated: all rows, then all rows again.

    Args:
        args: Positional arguments of the call.
        kwargs: Its named arguments.
        rows: Rows of the batch before.
        copies: How often the batch shall be there; with 1 the sizes are only checked.
        grown: Whether the call continues one whose batch was repeated, so that a tensor may have
            all rows already.

    Raises:
        CompositionError: If a tensor's batch dimension cannot be told.
    """

    def repeated(value: Any, name: str) -> Any:
        if name in _NOT_ROWS:
            return value
        if isinstance(value, Tensor):
            return _repeated_tensor(value, name, rows=rows, copies=copies, grown=grown)
        if isinstance(value, Mapping):
            changed: Any = copy.copy(value)
            for key in value:
                changed[key] = repeated(value[key], str(key))
            return changed
        if isinstance(value, tuple | list):
            items = [repeated(item, name) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return value

    return (
        tuple(repeated(value, "") for value in args),
        {name: repeated(value, name) for name, value in kwargs.items()},
    )


def _repeated_tensor(value: Tensor, name: str, *, rows: int, copies: int, grown: bool) -> Tensor:
    size = len(value) if value.ndim else 1
    if name == "position_ids" and value.ndim == 3 and value.shape[1] == rows:
        return value.repeat(1, copies, 1)  # one plane for each axis of a picture
    if size == rows and copies > 1:
        return value.repeat(copies, *[1] * (value.ndim - 1)) if value.ndim else value
    if size in (1, rows) or value.ndim == 1 or (grown and size == rows * copies):
        return value
    raise CompositionError(
        f"the active composition is about the {rows} rows of the batch, but "
        f"{name or 'an argument'!r} is {' x '.join(map(str, value.shape))}; give one entry for "
        "each row."
    )
