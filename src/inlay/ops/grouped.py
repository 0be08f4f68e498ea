"""One product for rows that each have a weight of their own."""

import functools
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from inlay.ops.products import with_bias


@final
@dataclass(frozen=True)
class Slots:
    """Which of the stacked weights each row goes with."""

    numbers: tuple[int, ...]
    """The slot of each row, in any order; each slot has a row."""

    @functools.cached_property
    def count(self) -> int:
        """How many slots there are."""
        return max(self.numbers) + 1

    @functools.cached_property
    def even(self) -> bool:
        """Whether all slots have equally many rows, which lie side by side in order."""
        rows, rest = divmod(len(self.numbers), self.count)
        return not rest and list(self.numbers) == [i // rows for i in range(len(self.numbers))]

    @functools.cached_property
    def _index(self) -> Tensor:
        with torch.inference_mode(False):  # kept for passes with gradient too
            return torch.tensor(self.numbers)

    def of_rows(self, stacked: Tensor) -> Tensor:
        """Return each row's own part of stacked weights, `(rows, ...)`."""
        return stacked.index_select(0, self._index.to(stacked.device))

    def batched(self, stacked: Tensor) -> Tensor:
        """Return stacked weights for a batched product: as they lie if rows do so, else by row.

        A copy for each row costs `out * in` numbers beside the `positions * out * in`
        multiplications of the row, and leaves the rows where they are.
        """
        return stacked if self.even else self.of_rows(stacked)


def grouped_linear(x: Tensor, weight: Tensor, bias: Tensor | None, slots: Slots) -> Tensor:
    """Return `W_s x + b_s` for each row, `s` its slot, as one batched product.

    Args:
        x: `(rows, ..., in)`.
        weight: `(slots, out, in)`.
        bias: `(slots, out)`, or `None`.
        slots: Which rows go with which weight.

    Returns:
        `(rows, ..., out)`.
    """
    weight = slots.batched(weight)
    flat = x.reshape(len(weight), -1, x.shape[-1])
    if bias is None:
        result = torch.bmm(flat, weight.transpose(1, 2))
    else:
        result = torch.baddbmm(slots.batched(bias).unsqueeze(1), flat, weight.transpose(1, 2))
    return result.view(*x.shape[:-1], -1)


def add_grouped_product(
    outputs: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, slots: Slots
) -> Tensor:
    """Return `outputs + W_s hidden + b_s` for each row in the precision of the outputs.

    Args:
        outputs: `(rows, ..., width)`.
        hidden: `(rows, ..., inner)`.
        weight: `(slots, width, inner)`.
        bias: `(slots, width)`.
        slots: Which rows go with which weight.

    Returns:
        `(rows, ..., width)`.
    """
    dtype = outputs.dtype
    if hidden.dtype != dtype or torch.is_autocast_enabled(outputs.device.type):
        weight, bias = weight.to(hidden.dtype), bias.to(hidden.dtype)
        return outputs + grouped_linear(hidden, weight, bias, slots).to(dtype)
    hidden, weight = with_bias(hidden, weight, bias)
    weight = slots.batched(weight.to(dtype))
    flat = outputs.reshape(len(weight), -1, outputs.shape[-1])
    inner = hidden.reshape(len(weight), -1, hidden.shape[-1])
    return torch.baddbmm(flat, inner, weight.transpose(1, 2)).view(outputs.shape)


def grouped_scale(x: Tensor, factors: Tensor, slots: Slots) -> Tensor:
    """Return each row times the factors of its slot.

    Args:
        x: `(rows, ..., width)`.
        factors: `(slots, width)`, or `(slots, 1)`.
        slots: Which rows go with which factors.

    Returns:
        `(rows, ..., width)`.
    """
    of_rows = slots.of_rows(factors)
    return x * of_rows.view(len(of_rows), *[1] * (x.ndim - 2), -1)
