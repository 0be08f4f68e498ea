"""One product for rows that each have a weight of their own."""

import functools
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True)
class Slots:
    """Which of the stacked weights each row goes with; rows of one slot lie side by side."""

    counts: tuple[int, ...]
    """Rows of each slot, in order, each at least 1."""

    @functools.cached_property
    def even(self) -> int | None:
        """Rows of every slot if that is one number, else `None`."""
        return self.counts[0] if len(set(self.counts)) == 1 else None

    @functools.cached_property
    def numbers(self) -> Tensor:
        """The slot of each row."""
        return torch.arange(len(self.counts)).repeat_interleave(torch.tensor(self.counts))

    def of_rows(self, stacked: Tensor) -> Tensor:
        """Return each row's own part of stacked weights, `(rows, ...)`."""
        return stacked.index_select(0, self.numbers.to(stacked.device))


def grouped_linear(x: Tensor, weight: Tensor, bias: Tensor | None, slots: Slots) -> Tensor:
    """Return `W_s x + b_s` for each row, `s` its slot, as one batched product.

    With equally many rows in each slot the weights are used as they lie. Otherwise each row gets
    a copy of its own, which costs `out * in` numbers beside the `positions * out * in`
    multiplications of the row.

    Args:
        x: `(rows, ..., in)`, sorted by slot.
        weight: `(slots, out, in)`.
        bias: `(slots, out)`, or `None`.
        slots: Which rows go with which weight.

    Returns:
        `(rows, ..., out)`.
    """
    if slots.even is None:
        weight = slots.of_rows(weight)
        bias = None if bias is None else slots.of_rows(bias)
    flat = x.reshape(len(weight), -1, x.shape[-1])
    if bias is None:
        result = torch.bmm(flat, weight.transpose(1, 2))
    else:
        result = torch.baddbmm(bias.unsqueeze(1), flat, weight.transpose(1, 2))
    return result.view(*x.shape[:-1], -1)


def grouped_scale(x: Tensor, factors: Tensor, slots: Slots) -> Tensor:
    """Return each row times the factors of its slot.

    Args:
        x: `(rows, ..., width)`, sorted by slot.
        factors: `(slots, width)`, or `(slots, 1)`.
        slots: Which rows go with which factors.

    Returns:
        `(rows, ..., width)`.
    """
    of_rows = slots.of_rows(factors)
    return x * of_rows.view(len(of_rows), *[1] * (x.ndim - 2), -1)
