"""The bottleneck adapter: down, activation, up (Houlsby 2019; Pfeiffer 2020; He 2022)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, final, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.activation import ACTIVATIONS
from inlay.methods.base import (
    AbstractAdapterLayer,
    AbstractSiteMethod,
    Grouped,
    Input,
    LowRank,
    Place,
    add,
    check_at_least,
    check_choice,
    check_fraction,
)
from inlay.methods.input_gate import Gating, InputGate, check_gating, made_gate
from inlay.methods.widths import check_widths, inner_width_at
from inlay.ops.grouped import Slots, add_grouped_product, grouped_linear, grouped_scale
from inlay.ops.products import add_product, product_dtype

Init = Literal["zero", "houlsby", "bert"]
Scaling = Literal["learned", "channel"]
Residual = Literal["x", "input", "x+r"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Bottleneck(AbstractSiteMethod):
    """Compute `x' = x + s * (W_up g(W_down h + b_down) + b_up)` at a site.

    With `h` the sublayer's output this is Houlsby et al. 2019 (arXiv:1902.00751); with the normed
    sum, Pfeiffer et al. 2020 (arXiv:2005.00247); with the stream, the parallel adapter of He et
    al. 2022 (arXiv:2110.04366); with the sum and a scale per channel, Adapter+ of Steitz and Roth
    2024 (arXiv:2406.06820). The base adds the stream and applies its norms itself.

    Parameters for one site and one hidden layer: `2 * width * d + d + width`, with `d` the inner
    width, plus 1 or `width` for a learned scale, `2 * width` for each norm and `width + 1` for a
    gate.

    Args:
        reduction: The inner width is `width / reduction`, at least 1. A mapping gives a value
            for some blocks by number, as text (`"3"`, or `"decoder.3"` for one submodel), and for
            the rest under `"default"`.
        inner_width: The inner width itself, in channels; instead of `reduction`.
        activation: One of `inlay.methods.activation.ACTIVATIONS`.
        input: What the adapter reads: `"x"`, `"r"`, `"x+r"`, or `"norm(x+r)"`. Where the base
            puts no norm on the sum, the last is the plain sum, as in AdapterHub.
        scaling: A fixed number, `"learned"` (one number, from 1) or `"channel"` (one for each
            channel, from 1).
        dropout: Fraction of the adapter's output zeroed in training, in [0, 1).
        norm_before: Whether a layer norm of its own comes first.
        norm_after: Whether a layer norm of its own comes last (it starts at zero); `"sum"` norms
            what the update was added to as well (it starts at one), as AdapterHub can.
        residual: What the update is added to: `"x"`, or as AdapterHub can, `"input"` for what the
            adapter reads, or `"x+r"` with input `"norm(x+r)"`. The base adds the stream again.
        hidden_layers: Inner layers of width `d`, at least 1.
        init: `"zero"` starts the last map at zero, so that a new adapter changes nothing;
            `"houlsby"` draws all maps from a truncated normal with deviation 0.01 and `"bert"`
            from a normal with 0.02, which change the base a little, as in the papers.
        gate: Whether the update is multiplied by a gate that reads what the adapter reads, as in
            UniPELT (Mao et al. 2022, arXiv:2110.07577); see `inlay.methods.input_gate.Gating`.

    Raises:
        ConfigError: If a value is not allowed, or both widths are given.

    Example:
        >>> layer = Bottleneck(reduction=4).build(Place(width=16))
        >>> x = torch.randn(2, 5, 16)
        >>> torch.equal(layer(x, x), x)
        True
    """

    name: ClassVar[str] = "bottleneck"
    default_at: ClassVar[str] = "attention, ffn"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"attention", "cross_attention", "ffn", "conv", "mixer", "block"}
    )

    reduction: float | Mapping[str, float] = 4
    inner_width: int | None = None
    activation: str = "relu"
    input: Input = "norm(x+r)"
    scaling: float | Scaling = 1.0
    dropout: float = 0.0
    norm_before: bool = False
    norm_after: bool | Literal["sum"] = False
    residual: Residual = "x"
    hidden_layers: int = 1
    init: Init = "zero"
    gate: Gating = False

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_choice("Bottleneck", "activation", self.activation, tuple(ACTIVATIONS))
        check_choice("Bottleneck", "input", self.input, ("x", "r", "x+r", "norm(x+r)"))
        check_choice("Bottleneck", "init", self.init, get_args(Init))
        check_choice("Bottleneck", "norm_after", self.norm_after, (True, False, "sum"))
        check_choice("Bottleneck", "residual", self.residual, get_args(Residual))
        if (self.residual, self.input) == ("input", "x"):
            raise ConfigError("Bottleneck(input='x', residual='input') is residual='x'; use that.")
        if self.residual == "x+r" and self.input != "norm(x+r)":
            raise ConfigError(
                f"Bottleneck(input={self.input!r}, residual='x+r'): this residual goes with "
                "input='norm(x+r)' only."
            )
        check_fraction("Bottleneck", "dropout", self.dropout)
        check_at_least("Bottleneck", "hidden_layers", self.hidden_layers, 1)
        check_gating("Bottleneck", self.gate)
        if isinstance(self.scaling, str):
            check_choice("Bottleneck", "scaling", self.scaling, get_args(Scaling))
        check_widths("Bottleneck", self.reduction, self.inner_width, usual=4)

    def inner_width_at(self, place: Place) -> int:
        """Return the inner width for one place.

        Raises:
            ConfigError: If the reductions by block have none for this block and no default.
        """
        return inner_width_at("Bottleneck", self.reduction, self.inner_width, place)

    @override
    def build(self, place: Place) -> "BottleneckLayer":
        gate = made_gate("Bottleneck", self.gate, place, place.width)
        inner_width = self.inner_width_at(place)
        return BottleneckLayer(self, width=place.width, inner_width=inner_width, gate=gate)


@final
class BottleneckLayer(AbstractAdapterLayer):
    """The trainable layer of `Bottleneck` at one site."""

    def __init__(
        self, method: Bottleneck, *, width: int, inner_width: int, gate: InputGate | None = None
    ) -> None:
        super().__init__()
        self.reads: Input = "norm(x+r), r" if method.residual == "x+r" else method.input
        self.residual, self.norms_sum = method.residual, method.norm_after == "sum"
        self.norm_before = nn.LayerNorm(width) if method.norm_before else None
        widths = [width] + [inner_width] * method.hidden_layers
        inner: list[nn.Module] = []
        for before, after in pairwise(widths):
            inner += [nn.Linear(before, after), ACTIVATIONS[method.activation]()]
        self.down = nn.Sequential(*inner)
        self.up = nn.Linear(inner_width, width)
        self.norm_after = nn.LayerNorm(width) if method.norm_after else None
        self.dropout = nn.Dropout(method.dropout)
        self.scale = _scale(method.scaling, width)
        self.initialise(method.init)
        self.gate = gate
        self.sees_neighbours = gate is not None and gate.sees_neighbours

    def initialise(self, init: Init) -> None:
        """Draw the starting weights."""
        linears = [m for m in self.modules() if isinstance(m, nn.Linear)]
        for linear in linears:
            if init == "houlsby":
                nn.init.trunc_normal_(linear.weight, std=0.01, a=-0.02, b=0.02)
            elif init == "bert":
                nn.init.normal_(linear.weight, std=0.02)
            else:
                nn.init.kaiming_uniform_(linear.weight, a=5**0.5)
            nn.init.zeros_(linear.bias)
        if init == "zero":
            nn.init.zeros_(self.up.weight)
            if self.norm_after is not None and not self.norms_sum:
                nn.init.zeros_(self.norm_after.weight)
                # With the norm at zero, a zero map as well could never start to learn.
                nn.init.kaiming_uniform_(self.up.weight, a=5**0.5)

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        start = outputs
        if self.residual == "input":
            start = inputs.to(outputs.dtype)
        elif self.residual == "x+r":
            inputs, stream = inputs.chunk(2, dim=-1)
            start = add(outputs, stream)
        if self._is_plain():
            dtype = product_dtype(outputs, self.up.weight)
            return add_product(start, self._hidden(inputs, dtype), *self._scaled_up())
        update = self.up(self._hidden(inputs, self.up.weight.dtype))
        scale = self.scale if self.gate is None else self.scale * self.gate(inputs, mask)
        if self.norm_after is None:
            return add(start, self.dropout(update) * scale)
        if self.norms_sum:
            total = start.to(update.dtype) + self.dropout(update) * scale
            normed: Tensor = self.norm_after(total)
            return normed.to(outputs.dtype)
        return add(start, self.dropout(self.norm_after(update)) * scale)

    def _is_plain(self) -> bool:
        """Tell whether the last map's product is the update, but for a scale."""
        dropped = self.training and self.dropout.p > 0
        return not dropped and self.gate is None and self.norm_after is None

    def _hidden(self, inputs: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what the last map multiplies, computed in a precision."""
        hidden = inputs
        if self.norm_before is not None:
            hidden = self.norm_before(inputs.to(self.up.weight.dtype))
        hidden = hidden.to(dtype)
        for module in self.down:
            if isinstance(module, nn.Linear):
                hidden = nn.functional.linear(
                    hidden, module.weight.to(dtype), module.bias.to(dtype)
                )
            else:
                hidden = module(hidden)
        return hidden

    def _scaled_up(self) -> tuple[Tensor, Tensor]:
        """Return the last map's weight and bias times the scale."""
        weight, bias, scale = self.up.weight, self.up.bias, self.scale
        if isinstance(scale, float):
            return (weight, bias) if scale == 1 else (weight * scale, bias * scale)
        return weight * scale.unsqueeze(-1), bias * scale

    @override
    def low_rank(self) -> LowRank | None:
        if self.residual != "x" or not self._is_plain():
            return None
        dtype = self.up.weight.dtype
        return LowRank(lambda inputs: self._hidden(inputs, dtype), *self._scaled_up())

    @override
    def grouped(self) -> Grouped | None:
        if self.residual != "x" or self.norm_before is not None or self.norm_after is not None:
            return None
        if self.gate is not None:
            return None
        linears = [m for m in (*self.down, self.up) if isinstance(m, nn.Linear)]
        weights = [tensor for linear in linears for tensor in (linear.weight, linear.bias)]
        fixed: float | None = None
        if isinstance(self.scale, float):
            fixed = self.scale
        else:
            weights.append(self.scale)
        key = (
            BottleneckLayer, self.reads, repr(self.down[1]), fixed, self.dropout.p, self.training,
            self.up.weight.dtype, *(weight.shape for weight in weights),
        )  # fmt: skip
        return Grouped(key, tuple(weights), self._run_grouped)

    def _run_grouped(
        self, weights: tuple[Tensor, ...], slots: Slots, inputs: Tensor, outputs: Tensor
    ) -> Tensor:
        dtype = product_dtype(outputs, weights[0])
        hidden, rest = inputs.to(dtype), list(weights)
        for module in self.down:
            if isinstance(module, nn.Linear):
                weight, bias = rest.pop(0).to(dtype), rest.pop(0).to(dtype)
                hidden = grouped_linear(hidden, weight, bias, slots)
            else:
                hidden = module(hidden)
        up, bias = rest[:2]
        if self.training and self.dropout.p > 0:
            update = self.dropout(grouped_linear(hidden, up.to(dtype), bias.to(dtype), slots))
            factor = grouped_scale(update, rest[2], slots) if rest[2:] else update * self.scale
            return add(outputs, factor)
        if rest[2:]:
            up, bias = up * rest[2].unsqueeze(-1), bias * rest[2]
        elif self.scale != 1:
            up, bias = up * self.scale, bias * self.scale
        return add_grouped_product(outputs, hidden, up, bias, slots)


def _scale(scaling: float | Scaling, width: int) -> nn.Parameter | float:
    if scaling == "learned":
        return nn.Parameter(torch.ones(1))
    if scaling == "channel":
        return nn.Parameter(torch.ones(width))
    return float(scaling)
