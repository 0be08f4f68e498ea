"""The trainable factors of LoRA at one linear map, with DoRA's magnitudes and PiSSA's start."""

from collections.abc import Callable
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from inlay.methods.base import AbstractMergeableLayer, Grouped, LowRank, add
from inlay.methods.input_gate import InputGate
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
        fresh: Whether `A` and `B` start here; `False` where they are copied in next.
        apply: Multiplies what the site's module is given by a matrix, where it is no linear map.
        is_table: Whether that is a table, where `A` starts at zero and `B` at random.
        gate: Multiplies the update; one gate for each equal part of the ranks.
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
        fresh: bool = True,
        apply: Callable[[Tensor, Tensor], Tensor] | None = None,
        is_table: bool = False,
        gate: InputGate | None = None,
    ) -> None:
        super().__init__()
        self.reads = "in"
        self.scale = scale
        self.gate = gate
        self.sees_neighbours = gate is not None and gate.sees_neighbours
        self._at_site = apply
        self.dropout = nn.Dropout(dropout)
        self.a = nn.Parameter(torch.zeros(rank, in_width))
        self.b = nn.Parameter(torch.zeros(out_width, rank))
        self.register_buffer("a_start", None)
        self.register_buffer("b_start", None)
        if init == "pissa" and weight is not None:
            self._start_at(weight() if fresh else None)
        elif fresh:
            self._draw(init, is_table=is_table)
        # Kept as what is added to the rows' own lengths: exactly the base at 0, on every device.
        self.magnitude = nn.Parameter(torch.zeros(out_width)) if magnitude else None
        self._weight = weight if magnitude else None

    def _draw(self, init: Init, *, is_table: bool) -> None:
        """Start one factor at random; the other one is zero."""
        random = self.b if is_table else self.a
        if init == "orthogonal":
            nn.init.orthogonal_(random)
        elif is_table:
            nn.init.normal_(random)
        else:
            nn.init.kaiming_uniform_(random, a=5**0.5)

    def _start_at(self, weight: Tensor | None) -> None:
        """Start at the principal part of a weight, and remember the start to take it off again.

        Without a weight there is only room for the start: a decomposition takes time.
        """
        if weight is None:
            self.a_start, self.b_start = self.a.detach().clone(), self.b.detach().clone()
            return
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

    def reduce(self, inputs: Tensor, down: Tensor) -> Tensor:
        """Return `down x`, `(..., positions, inner)`, of what the site's module is given."""
        if self._at_site is None:
            return linear(self.dropout(inputs).to(down.dtype), down)
        if not inputs.is_floating_point():
            words: Tensor = self.dropout(self._at_site(inputs, down))
            return words
        return self._at_site(self.dropout(inputs).to(down.dtype), down)

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.magnitude is None:
            down, up = self.factors()
            hidden = self.reduce(inputs, down)
            if self.gate is not None:
                gates = self.gate(inputs, mask)
                hidden = hidden * gates.repeat_interleave(len(down) // gates.shape[-1], dim=-1)
            return add(outputs, linear(hidden, up) * self.scale)
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
        if self.magnitude is not None or self.gate is not None:
            return None
        down, up = self.factors()
        return LowRank(lambda inputs: self.reduce(inputs, down), up * self.scale)

    @override
    def grouped(self) -> Grouped | None:
        if not (self.magnitude is None and self.gate is None and self._at_site is None):
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
