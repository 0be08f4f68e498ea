"""The trainable factors of LoRA at one linear map, with DoRA's magnitudes and PiSSA's start."""

from collections.abc import Callable
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from inlay.methods.base import AbstractMergeableLayer, Grouped, LowRank, add
from inlay.ops.blending import nearest_low_rank
from inlay.ops.grouped import Slots, grouped_linear
from inlay.ops.low_rank import low_rank, low_rank_weight

Init = Literal["kaiming", "orthogonal", "pissa"]


@final
class LoRALayer(AbstractMergeableLayer):
    """What `LoRA` adds at one linear map with weight `W`.

    Args:
        in_width: Channels of the map's input.
        out_width: Channels of its output.
        rank: Columns of `B`.
        scale: What `B A` is multiplied by.
        dropout: Fraction of the input's channels zeroed in training.
        init: How `A` and `B` start.
        magnitude: Whether each output channel has a trained length.
        weight: Gives `W`, `(out_width, in_width)`, as it is in the base now; needed for
            `init="pissa"` and `magnitude`.
    """

    a_start: Tensor | None
    b_start: Tensor | None

    def __init__(
        self,
        *,
        in_width: int,
        out_width: int,
        rank: int,
        scale: float,
        dropout: float,
        init: Init,
        magnitude: bool,
        weight: Callable[[], Tensor] | None,
    ) -> None:
        super().__init__()
        self.reads = "in"
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        self.a = nn.Parameter(torch.empty(rank, in_width))
        self.b = nn.Parameter(torch.zeros(out_width, rank))
        self.register_buffer("a_start", None)
        self.register_buffer("b_start", None)
        if init == "pissa" and weight is not None:
            self._start_at(weight())
        elif init == "orthogonal":
            nn.init.orthogonal_(self.a)
        else:
            nn.init.kaiming_uniform_(self.a, a=5**0.5)
        # Kept as what is added to the rows' own lengths: exactly the base at 0, on every device.
        self.magnitude = nn.Parameter(torch.zeros(out_width)) if magnitude else None
        self._weight = weight if magnitude else None

    def _start_at(self, weight: Tensor) -> None:
        """Start at the principal part of a weight, and remember the start to take it off again."""
        exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
        fit = nearest_low_rank(exact, len(self.a))
        start = (fit.down / self.scale**0.5, fit.up / self.scale**0.5)
        self.a_start, self.b_start = (factor.contiguous() for factor in start)
        self.a, self.b = nn.Parameter(self.a_start.clone()), nn.Parameter(self.b_start.clone())

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return `down`, `(inner, in_width)`, and `up`, `(out_width, inner)`, of the update.

        With a start `B A - B0 A0` is `(B - B0) A + B0 (A - A0)`: of twice the rank, and exactly
        zero at the start.
        """
        if self.a_start is None or self.b_start is None:
            return self.a, self.b
        return _moved(self.a, self.b, self.a_start, self.b_start)

    def stretch(self) -> Tensor | None:
        """Return how much longer each row of `W + scale * B A` is made, minus 1, `(out_width,)`.

        `None` without magnitudes. The length of the rows is a constant for the gradient (Liu et
        al. 2024, section 4.3).
        """
        if self.magnitude is None or self._weight is None:
            return None
        with torch.no_grad(), torch.autocast(self.a.device.type, enabled=False):
            down, up = self.factors()
            weight, up = self._weight().to(self.a.dtype), up * self.scale
            own = weight.square().sum(1)
            # Without forming up @ down: |w + u|^2 = |w|^2 + 2 w u + |u|^2.
            across = (up * (weight @ down.T)).sum(1)
            squares = own + 2 * across + ((up @ (down @ down.T)) * up).sum(1)
            tiny = torch.finfo(own.dtype).tiny
            length, now = own.sqrt(), squares.clamp_min(tiny).sqrt()
        return (length + self.magnitude - now) / now

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        inputs = self.dropout(inputs)
        update = low_rank(inputs, *self.factors(), self.scale)
        stretch = self.stretch()
        if stretch is not None and self._weight is not None:
            weight = self._weight()
            base = linear(inputs.to(weight.dtype), weight)
            update = stretch * base.to(stretch.dtype) + (1 + stretch) * update
        return add(outputs, update)

    @override
    def low_rank(self) -> LowRank | None:
        if self.magnitude is not None:
            return None
        down, up = self.factors()
        return LowRank(
            lambda inputs: linear(self.dropout(inputs).to(down.dtype), down), up * self.scale
        )

    @override
    def grouped(self) -> Grouped | None:
        if self.magnitude is not None:
            return None
        weights: tuple[Tensor, ...] = (self.a, self.b)
        if self.a_start is not None and self.b_start is not None:
            weights = (*weights, self.a_start, self.b_start)
        key = (
            LoRALayer, self.a.shape, self.b.shape, len(weights), self.a.dtype, self.scale,
            self.dropout.p, self.training,
        )  # fmt: skip
        return Grouped(key, weights, self._run_grouped)

    def _run_grouped(
        self, weights: tuple[Tensor, ...], slots: Slots, inputs: Tensor, outputs: Tensor
    ) -> Tensor:
        down, up = weights if len(weights) == 2 else _moved(*weights)
        hidden = grouped_linear(self.dropout(inputs).to(down.dtype), down, None, slots)
        return add(outputs, grouped_linear(hidden, up, None, slots) * self.scale)

    @override
    def weight_update(self) -> Tensor:
        """Return what a merge adds to the map's weight, `(out_width, in_width)`."""
        update = low_rank_weight(*self.factors(), self.scale)
        stretch = self.stretch()
        if stretch is None or self._weight is None:
            return update
        rows = stretch.unsqueeze(-1)
        return rows * self._weight().to(update.dtype) + (1 + rows) * update

    def base_weight(self) -> Tensor | None:
        """Return the weight whose rows magnitudes stretch, or `None` without magnitudes."""
        return None if self._weight is None else self._weight()


def _moved(a: Tensor, b: Tensor, a_start: Tensor, b_start: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of `b a - b_start a_start`; stacked ones too."""
    return torch.cat([a, a - a_start], dim=-2), torch.cat([b - b_start, b_start], dim=-1)
