"""LoRA: a low-rank update of a frozen linear map (Hu 2021)."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.base import (
    AbstractAdapterLayer,
    AbstractSiteMethod,
    Grouped,
    LowRank,
    Place,
    add,
    check_at_least,
    check_fraction,
)
from inlay.ops.grouped import Slots, grouped_linear
from inlay.ops.low_rank import low_rank, low_rank_weight


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LoRA(AbstractSiteMethod):
    """Add `(alpha / rank) * B A x` to a frozen linear map `W x` (Hu et al. 2021, arXiv:2106.09685).

    `A` starts as a linear map would (Kaiming uniform) and `B` at zero, so a new adapter changes
    nothing. This is what `loralib` does; the paper draws `A` from a normal distribution.
    Parameters for one map: `rank * (in_width + out_width)`.

    Args:
        rank: Columns of `B`.
        alpha: Numerator of the scale, so that the rank can change without retuning.
        dropout: Fraction of the input's channels zeroed in training, in [0, 1).

    Raises:
        ConfigError: If `rank < 1`, or `dropout` lies outside [0, 1).
    """

    name: ClassVar[str] = "lora"
    default_at: ClassVar[str] = "linear"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"q", "k", "v", "qkv", "kv", "o", "up", "gate", "gate_up", "down", "other"}
    )
    can_merge: ClassVar[bool] = True

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_at_least("LoRA", "rank", self.rank, 1)
        check_fraction("LoRA", "dropout", self.dropout)

    @override
    def build(self, place: Place) -> "LoRALayer":
        if place.in_width is None:
            raise ConfigError(f"LoRA needs a linear map; a site of kind {place.kind!r} is none.")
        return LoRALayer(self, in_width=place.in_width, out_width=place.width)


@final
class LoRALayer(AbstractAdapterLayer):
    """The trainable factors of `LoRA` at one linear map."""

    def __init__(self, method: LoRA, *, in_width: int, out_width: int) -> None:
        super().__init__()
        self.reads = "in"
        self.scale = method.alpha / method.rank
        self.dropout = nn.Dropout(method.dropout)
        self.a = nn.Parameter(torch.empty(method.rank, in_width))
        self.b = nn.Parameter(torch.zeros(out_width, method.rank))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        update = low_rank(self.dropout(inputs), self.a, self.b, self.scale)
        return add(outputs, update)

    @override
    def low_rank(self) -> LowRank:
        return LowRank(
            lambda inputs: linear(self.dropout(inputs).to(self.a.dtype), self.a),
            self.b * self.scale,
        )

    @override
    def grouped(self) -> Grouped:
        key = (
            LoRALayer, self.a.shape, self.b.shape, self.a.dtype, self.scale, self.dropout.p,
            self.training,
        )  # fmt: skip
        return Grouped(key, (self.a, self.b), self._run_grouped)

    def _run_grouped(
        self, weights: tuple[Tensor, ...], slots: Slots, inputs: Tensor, outputs: Tensor
    ) -> Tensor:
        a, b = weights
        hidden = grouped_linear(self.dropout(inputs).to(a.dtype), a, None, slots)
        return add(outputs, grouped_linear(hidden, b, None, slots) * self.scale)

    def weight_update(self) -> Tensor:
        """Return what a merge adds to the map's weight, `(out_width, in_width)`."""
        return low_rank_weight(self.a, self.b, self.scale)
