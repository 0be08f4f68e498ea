"""Adapters at the two ends of a model: on the word vectors, and on the last hidden state."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

from torch import Tensor, nn
from typing_extensions import override

from inlay.methods.activation import ACTIVATIONS
from inlay.methods.base import (
    AbstractAdapterLayer,
    AbstractSiteMethod,
    Place,
    add,
    check_at_least,
    check_choice,
    check_fraction,
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingAdapter(AbstractSiteMethod):
    """Add a learned map to the word vectors: `e' = e + W e + b`, at the input end of the model.

    The linear relative of the invertible input adapters of Pfeiffer et al. 2020 (MAD-X,
    arXiv:2005.00052): it moves the vocabulary to a new language or domain while the table itself
    stays frozen. Starts at zero. Parameters: `width * width + width`, or `2 * width * rank +
    width` with a rank.

    Args:
        rank: Write `W` as a product of two thin matrices of this rank; `None` for a full matrix.

    Raises:
        ConfigError: If `rank < 1`.
    """

    name: ClassVar[str] = "embedding"
    default_at: ClassVar[str] = "embedding"
    kinds: ClassVar[frozenset[str]] = frozenset({"embedding"})

    rank: int | None = None

    def __post_init__(self) -> None:
        """Check the rank."""
        if self.rank is not None:
            check_at_least("EmbeddingAdapter", "rank", self.rank, 1)

    @override
    def build(self, place: Place) -> "EndLayer":
        inner: nn.Module = nn.Identity()
        if self.rank is not None:
            inner = nn.Linear(place.width, self.rank, bias=False)
        return EndLayer(inner, nn.Linear(self.rank or place.width, place.width), dropout=0.0)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class OutputAdapter(AbstractSiteMethod):
    """Add a small network to the last hidden state: `h' = h + W g(... g(W h + b))`.

    All of the base lies below it, so training runs no gradient through the base. Starts at zero.
    Parameters: `layers * inner_width` wide maps; for one layer
    `2 * width * inner_width + inner_width + width`.

    Args:
        layers: Inner layers, at least 1.
        inner_width: Channels of the inner layers; `None` for those of the model.
        activation: One of `inlay.methods.activation.ACTIVATIONS`.
        dropout: Fraction of the inner channels zeroed in training, in [0, 1).

    Raises:
        ConfigError: If a value is not allowed.
    """

    name: ClassVar[str] = "output"
    default_at: ClassVar[str] = "output"
    kinds: ClassVar[frozenset[str]] = frozenset({"output"})

    layers: int = 1
    inner_width: int | None = None
    activation: str = "gelu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_at_least("OutputAdapter", "layers", self.layers, 1)
        check_choice("OutputAdapter", "activation", self.activation, tuple(ACTIVATIONS))
        check_fraction("OutputAdapter", "dropout", self.dropout)
        if self.inner_width is not None:
            check_at_least("OutputAdapter", "inner_width", self.inner_width, 1)

    @override
    def build(self, place: Place) -> "EndLayer":
        inner_width = self.inner_width or place.width
        widths = [place.width] + [inner_width] * self.layers
        inner: list[nn.Module] = []
        for before, after in pairwise(widths):
            inner += [nn.Linear(before, after), ACTIVATIONS[self.activation]()]
        return EndLayer(
            nn.Sequential(*inner), nn.Linear(inner_width, place.width), dropout=self.dropout
        )


@final
class EndLayer(AbstractAdapterLayer):
    """Add `last(dropout(inner(x)))` to `x`; the last map starts at zero."""

    def __init__(self, inner: nn.Module, last: nn.Linear, *, dropout: float) -> None:
        super().__init__()
        self.reads = "x"
        self.inner = inner
        self.dropout = nn.Dropout(dropout)
        self.last = last
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        update = self.last(self.dropout(self.inner(inputs.to(self.last.weight.dtype))))
        return add(outputs, update)
