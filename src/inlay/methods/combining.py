"""What a learned combination of adapters must supply: how updates at one site become one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from inlay.methods.base import AbstractMethod, Input, Place


@final
@dataclass(frozen=True, slots=True)
class Combined:
    """What a combination gave at one site."""

    update: Tensor
    """What is added to the site's output, `(..., width)`."""
    weights: Tensor
    """How much each adapter counted, `(..., number)`."""
    loss: Tensor | None = None
    """A loss term of this pass, a scalar, weighted already."""


class AbstractCombineMethod(AbstractMethod):
    """Settings of a learned combination; subclasses are frozen dataclasses of plain values."""

    @abstractmethod
    def build(self, place: Place, number: int) -> "AbstractCombiner":
        """Make the trainable layer for one site and this many adapters.

        Raises:
            ConfigError: If the combination cannot act there.
        """


class AbstractCombiner(nn.Module, ABC):
    """The trainable part of a combination at one site."""

    reads: Input = "x"
    """What `x` of `forward` shall be."""

    @abstractmethod
    def forward(self, x: Tensor, updates: Tensor, mask: Tensor | None = None) -> Combined:
        """Combine the adapters' updates.

        Args:
            x: What `reads` names, with the site's output before the adapters as its `x`,
                `(..., positions, width)`.
            updates: What each adapter adds to it, `(number, ..., positions, width)`.
            mask: `(batch, positions)`, true where there is no padding, if it is known.
        """

    @abstractmethod
    def penalty(self) -> Tensor:
        """Return the loss term that depends on the weights alone, a scalar, weighted already."""
