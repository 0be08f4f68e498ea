"""LoReFT: edit the residual stream in a low-rank subspace, at a few positions (Wu 2024)."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.base import (
    AbstractAdapterLayer,
    AbstractSiteMethod,
    Place,
    add,
    check_at_least,
    check_choice,
    check_fraction,
)

Init = Literal["zero", "paper"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LoReFT(AbstractSiteMethod):
    """Compute `h' = h + R^T (W h + b - R h)` at the first and last positions of a sequence.

    `R` has orthonormal rows, so the edit sets what `h` is in the subspace that they span and
    leaves the rest (Wu et al. 2024, arXiv:2404.03592, equation 2). Positions are counted over
    real tokens, so padding on either side does not move them. While a sequence is generated with
    a cache, `last` means the end of the prompt, as in the paper; without a cache it would move
    along with the text.

    Parameters for one site: `2 * rank * width + rank`, twice that if not tied.

    Args:
        rank: Rows of `R`, at most the width.
        first: How many positions at the start of the real sequence.
        last: How many at its end.
        tied: Whether both ends share weights. A position that is in both ends is edited once, as
            one of the first.
        dropout: Fraction of the edit zeroed in training, in [0, 1).
        init: `"zero"` starts `W` as `R`, so that a new adapter changes nothing; `"paper"` draws
            it as a linear map's weight.

    Raises:
        ConfigError: If a value is not allowed.
    """

    name: ClassVar[str] = "loreft"
    default_at: ClassVar[str] = "block"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"block", "attention", "cross_attention", "ffn", "conv", "mixer"}
    )

    rank: int = 4
    first: int = 7
    last: int = 7
    tied: bool = True
    dropout: float = 0.0
    init: Init = "zero"

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_at_least("LoReFT", "rank", self.rank, 1)
        check_at_least("LoReFT", "first", self.first, 0)
        check_at_least("LoReFT", "last", self.last, 0)
        check_fraction("LoReFT", "dropout", self.dropout)
        check_choice("LoReFT", "init", self.init, get_args(Init))
        if not (self.first or self.last):
            raise ConfigError("LoReFT(first=0, last=0): it would edit no position; raise one.")
        if not (self.tied or (self.first and self.last)):
            raise ConfigError(
                f"LoReFT(tied=False, first={self.first}, last={self.last}): with positions at one "
                "end only there is nothing to tie; leave tied out."
            )

    @override
    def build(self, place: Place) -> "LoReFTLayer":
        if place.position_dims != 1:
            raise ConfigError("LoReFT: the positions of a picture have no first and no last one.")
        if self.rank > place.width:
            raise ConfigError(
                f"LoReFT(rank={self.rank}): the stream has {place.width} channels, so at most "
                f"{place.width} rows can be orthonormal."
            )
        return LoReFTLayer(self, place.width)


@final
class LoReFTLayer(AbstractAdapterLayer):
    """The trainable edits of `LoReFT` at one site."""

    counts_positions: ClassVar[bool] = True

    def __init__(self, method: LoReFT, width: int) -> None:
        super().__init__()
        self.reads = "x"
        self.first, self.last = method.first, method.last
        self.edit = Edit(method, width)
        self.edit_last = None if method.tied else Edit(method, width)

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        at_start, at_end = self.chosen(inputs, mask)
        hidden = inputs.to(self.edit.bias.dtype)
        if self.edit_last is None:
            update = self.edit(hidden) * (at_start | at_end).unsqueeze(-1)
        else:
            update = self.edit(hidden) * at_start.unsqueeze(-1)
            update = update + self.edit_last(hidden) * (at_end & ~at_start).unsqueeze(-1)
        return add(outputs, update)

    def chosen(self, inputs: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Say which positions are among the first and which among the last real ones.

        Args:
            inputs: `(batch, positions, width)`.
            mask: As for `forward`.

        Returns:
            Two boolean tensors `(batch, positions)`.
        """
        length = inputs.shape[1]
        if mask is None:
            mask = torch.ones(inputs.shape[:2], dtype=torch.long, device=inputs.device)
        real = mask != 0
        count = real.long().cumsum(1)
        at_start = real & (count <= self.first)
        at_end = real & (count > count[:, -1:] - self.last)
        if real.shape[1] > length:
            at_end = torch.zeros_like(real)  # behind the prompt, whose end was edited before
        return at_start[:, -length:], at_end[:, -length:]


@final
class Edit(nn.Module):
    """The edit `R^T (W h + b - R h)`."""

    def __init__(self, method: LoReFT, width: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.empty(width, method.rank))
        self.weight = nn.Parameter(torch.empty(method.rank, width))
        self.bias = nn.Parameter(torch.zeros(method.rank))
        self.dropout = nn.Dropout(method.dropout)
        nn.init.orthogonal_(self.raw)
        if method.init == "zero":
            self.weight.data.copy_(self.rotation())
        else:
            nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def rotation(self) -> Tensor:
        """Return `R`, `(rank, width)`: the rows of `raw.T` made orthonormal, in their order."""
        # Not in float16 or bfloat16, which autocast might choose and QR does not take.
        basis, triangle = torch.linalg.qr(self.raw)
        signs = torch.where(triangle.diagonal() < 0, -1.0, 1.0).to(basis.dtype)
        rotation: Tensor = (basis * signs).T
        return rotation

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        rotation = self.rotation()
        # One product for W h - R h: exactly zero where W is R.
        inside = F.linear(hidden, self.weight - rotation, self.bias)
        update: Tensor = self.dropout(F.linear(inside, rotation.T))
        return update
