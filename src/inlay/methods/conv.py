"""A bottleneck whose inner map is a depthwise-separable convolution over positions."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.activation import ACTIVATIONS
from inlay.methods.base import (
    AbstractAdapterLayer,
    AbstractSiteMethod,
    Input,
    Place,
    add,
    check_at_least,
    check_choice,
    check_fraction,
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ConvAdapter(AbstractSiteMethod):
    """Compute `x' = x + W_up P(g(D(W_down h)))`, `D` depthwise over positions, `P` pointwise.

    The inner map is the depthwise-separable convolution of Chollet 2017 (arXiv:1610.02357) inside
    the bottleneck of Houlsby et al. 2019, so that neighbouring tokens, patches or frames are seen
    together. Padding does not reach real positions. In a causal model only earlier positions are
    seen; decoding with a cache is refused there, because the cache does not hold them.

    Parameters for one site: `2 * width * d + d + width` for the two maps, `d * kernel + d` for the
    depthwise and `d * d + d` for the pointwise convolution (`kernel**2` on pictures).

    Args:
        reduction: The inner width `d` is `width / reduction`, at least 1.
        kernel: Positions seen at once; odd.
        activation: One of `inlay.methods.activation.ACTIVATIONS`.
        input: What the adapter reads, as for `Bottleneck`.
        dropout: Fraction of the adapter's output zeroed in training, in [0, 1).

    Raises:
        ConfigError: If a value is not allowed.
    """

    name: ClassVar[str] = "conv"
    default_at: ClassVar[str] = "ffn"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"attention", "cross_attention", "ffn", "conv", "mixer", "block"}
    )

    reduction: float = 16
    kernel: int = 3
    activation: str = "gelu"
    input: Input = "x"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_choice("ConvAdapter", "activation", self.activation, tuple(ACTIVATIONS))
        check_choice("ConvAdapter", "input", self.input, ("x", "r", "x+r", "norm(x+r)"))
        check_fraction("ConvAdapter", "dropout", self.dropout)
        check_at_least("ConvAdapter", "kernel", self.kernel, 1)
        if self.reduction <= 0:
            raise ConfigError(f"ConvAdapter(reduction={self.reduction!r}): must be above 0.")
        if self.kernel % 2 == 0:
            raise ConfigError(f"ConvAdapter(kernel={self.kernel}): kernel must be odd.")

    @override
    def build(self, place: Place) -> "ConvAdapterLayer":
        return ConvAdapterLayer(self, place)


@final
class ConvAdapterLayer(AbstractAdapterLayer):
    """The trainable layer of `ConvAdapter` at one site."""

    sees_neighbours: bool = True

    def __init__(self, method: ConvAdapter, place: Place) -> None:
        super().__init__()
        self.reads = method.input
        self.kernel, self.causal, self.dims = method.kernel, place.causal, place.position_dims
        inner = max(1, round(place.width / method.reduction))
        self.down = nn.Linear(place.width, inner)
        self.depthwise = nn.Parameter(torch.empty(inner, 1, *[method.kernel] * self.dims))
        self.depthwise_bias = nn.Parameter(torch.zeros(inner))
        self.pointwise = nn.Linear(inner, inner)
        self.activation = ACTIVATIONS[method.activation]()
        self.up = nn.Linear(inner, place.width)
        self.dropout = nn.Dropout(method.dropout)
        nn.init.kaiming_uniform_(self.depthwise, a=5**0.5)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = self.down(inputs.to(self.up.weight.dtype))
        if mask is not None:
            hidden = hidden * mask.unsqueeze(-1).to(hidden.dtype)
        hidden = self.activation(self.convolve(hidden))
        update = self.dropout(self.up(self.pointwise(hidden)))
        return add(outputs, update)

    def convolve(self, hidden: Tensor) -> Tensor:
        """Convolve each channel over the positions; `hidden` is `(batch, *positions, d)`."""
        reach = self.kernel // 2
        before, after = (2 * reach, 0) if self.causal else (reach, reach)
        padded = F.pad(hidden.movedim(-1, 1), (before, after) * self.dims)
        convolve = F.conv1d if self.dims == 1 else F.conv2d
        result = convolve(padded, self.depthwise, self.depthwise_bias, groups=hidden.shape[-1])
        return result.movedim(1, -1)
