"""Vectors in front of words, not as many for each row: where what stands then, and where not."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, slots=True)
class Vectors:
    """What is put in front of each row's words.

    A row with fewer vectors than another gets padding behind its words, so that whatever numbers
    or weighs positions finds vectors and words where they are in a row by itself.
    """

    vectors: Tensor
    """`(length, width)`, or `(rows, length, width)`."""
    lengths: Tensor | None = None
    """`(rows,)`, how many of them each row has; `None` if each has all."""

    @property
    def length(self) -> int:
        """By how much the sequence is longer."""
        return self.vectors.shape[-2]

    def before(self, embeds: Tensor) -> Tensor:
        """Return the words' own vectors, `(rows, positions, width)`, with those in front."""
        rows = self.vectors.to(embeds.dtype).expand(len(embeds), -1, -1)
        return self._in_order(torch.cat([rows, embeds], dim=1), embeds.shape[1])

    def mask(self, mask: Tensor, first: int) -> Tensor:
        """Return a padding mask with the vectors' positions.

        Args:
            mask: Of the words, `(rows or 1, positions)`.
            first: How many words the vectors were put in front of; further ones stand behind the
                padding, as they came when a cache held it already.
        """
        if self.lengths is None:
            ones = mask.new_ones(len(mask), self.length)
        else:
            mask = mask.expand(len(self.lengths), -1)
            ones = (self._numbers(mask) < self.lengths.unsqueeze(1)).to(mask.dtype)
        return self._in_order(torch.cat([ones, mask], dim=1), first)

    def types(self, types: Tensor) -> Tensor:
        """Return the words' token types, `(rows or 1, positions)`, with zeros for the vectors."""
        zeros = types.new_zeros(len(types), self.length)
        return self._in_order(torch.cat([zeros, types], dim=1), types.shape[1])

    def positions(self, positions: Tensor, mask: Tensor | None, *, is_first: bool) -> Tensor:
        """Number the words, `(rows or 1, positions)`, behind the vectors.

        Args:
            positions: The words' numbers by themselves.
            mask: Of the words, `(rows or 1, positions)`; `None` if there is no padding.
            is_first: Whether the vectors are among them, which begin where a row's words did: not
                at 0 in every base.
        """
        shift = self.length if self.lengths is None else self.lengths.unsqueeze(1)
        shifted = positions + shift
        if not is_first:
            return shifted
        last = positions.amax(1, keepdim=True)
        words = positions if mask is None else torch.where(mask == 0, last, positions)
        numbers = words.amin(1, keepdim=True) + self._numbers(positions)
        rows = max(len(shifted), len(numbers))
        whole = torch.cat([numbers.expand(rows, -1), shifted.expand(rows, -1)], dim=1)
        return self._in_order(whole, positions.shape[1])

    def without(self, whole: Tensor, dim: int, words: int) -> Tensor:
        """Take the words' positions out of all, `(rows, ...)`, along a dimension."""
        if self.lengths is None:
            return whole.narrow(dim, self.length, words)
        numbers = torch.arange(words, device=whole.device)
        index = self.lengths.unsqueeze(1) + numbers
        shape = [1] * whole.ndim
        shape[0], shape[dim] = index.shape
        size = list(whole.shape)
        size[dim] = words
        return whole.gather(dim, index.view(shape).expand(size))

    def _numbers(self, like: Tensor) -> Tensor:
        return torch.arange(self.length, device=like.device)

    def _in_order(self, whole: Tensor, first: int) -> Tensor:
        """Move the padding between vectors and words behind the first words."""
        if self.lengths is None:
            return whole
        places = torch.arange(self.length + first, device=whole.device)
        own = self.lengths.unsqueeze(1)
        order = torch.where(places < own, places, places - own + self.length)
        order = torch.where(places < own + first, order, places - first)
        rest = torch.arange(self.length + first, whole.shape[1], device=whole.device)
        order = torch.cat([order, rest.expand(len(order), -1)], dim=1)
        whole = whole.expand(len(order), *whole.shape[1:])
        if whole.ndim == 3:
            order = order.unsqueeze(-1).expand(-1, -1, whole.shape[2])
        return whole.gather(1, order)
