"""Copies of base weights beside what an adapter's method trains: biases, tables, whole modules."""

from collections.abc import Sequence

import torch
from torch import nn

from inlay.adapters.bank import Adapters
from inlay.adapters.base_weights import base_parameters
from inlay.adapters.entry import Entry
from inlay.compose.nodes import names_in
from inlay.errors import AdapterError, CompositionError


def add_copies(adapters: Adapters, entry: Entry, paths: Sequence[str]) -> None:
    """Give an adapter trained copies of base weights, as of `modules_to_save` in PEFT.

    While the adapter is active they stand in the place of the originals, which stay as they are;
    so it can then be used alone only, as a comparator. They start equal to the originals.

    Args:
        adapters: The adapters of the model.
        entry: One of them that is not active.
        paths: Paths of parameters of the base, heads left out.

    Raises:
        AdapterError: If there is no such parameter, it is tied to another, has a copy already,
            or holds no floating-point numbers.
        CompositionError: If the adapter is active.
    """
    if entry.name in names_in(adapters.active):
        raise CompositionError(
            f"copies for {entry.name!r}: it is part of {adapters.active!r}, which is active; use "
            "another composition first."
        )
    with adapters.original_weights():
        known = base_parameters(adapters.model, adapters, adapters.own_heads)
        made: dict[str, nn.Parameter] = {}
        for path in paths:
            why = _why_not(path, known, entry)
            if why:
                raise AdapterError(f"{entry.name!r}: no copy of {path!r} can be made, {why}.")
            original = known[path]
            dtype = torch.promote_types(original.dtype, torch.float32)
            made[path] = nn.Parameter(original.detach().to(dtype, copy=True), requires_grad=False)
    entry.own_copies(made)


def _why_not(path: str, known: dict[str, nn.Parameter], entry: Entry) -> str:
    if path not in known:
        return "as the base has no such weight"
    if path in entry.weights:
        return "as the adapter has one"
    if not known[path].is_floating_point():
        return "as it holds no floating-point numbers"
    tied = [other for other, weight in known.items() if weight is known[path] and other != path]
    return f"as the base ties it to {tied[0]!r}, and a copy would replace both" if tied else ""
