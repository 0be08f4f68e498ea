"""Train copies of small parts of the base: its biases, or the weights of its norms."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn
from typing_extensions import override

from inlay.methods.base import AbstractWeightMethod


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BitFit(AbstractWeightMethod):
    """Train a copy of every bias of the base (Ben Zaken et al. 2022, arXiv:2106.10199).

    Parameters: the sum of the biases' widths, those of norms included, as in the paper.
    """

    name: ClassVar[str] = "bitfit"
    takes_what: ClassVar[str] = "biases"

    @override
    def first_block(self, num_blocks: int) -> int | None:
        return None

    @override
    def takes(self, owner: nn.Module, name: str) -> bool:
        return name == "bias"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Norms(AbstractWeightMethod):
    """Train a copy of the gains and biases of every norm (Zhao et al. 2024, arXiv:2312.11420).

    A norm is told by its form: a module without children whose parameters are one vector called
    `weight` and perhaps one called `bias`.

    Parameters: twice the width for each layer norm, the width for each that has no bias.
    """

    name: ClassVar[str] = "norms"
    takes_what: ClassVar[str] = "norms with weights"

    @override
    def first_block(self, num_blocks: int) -> int | None:
        return None

    @override
    def takes(self, owner: nn.Module, name: str) -> bool:
        own = dict(owner.named_parameters(recurse=False))
        is_leaf = not any(True for _ in owner.children())
        are_vectors = all(parameter.ndim == 1 for parameter in own.values())
        return is_leaf and are_vectors and "weight" in own and set(own) <= {"weight", "bias"}
