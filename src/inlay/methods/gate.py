"""A gate over adapters: how much each counts is read off the input, per token or per sequence."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.base import Place, check_at_least, check_choice
from inlay.methods.combining import AbstractCombineMethod, AbstractCombiner, Combined

Per = Literal["token", "sequence"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Gate(AbstractCombineMethod):
    """Compute `x' = x + sum_i g_i u_i`, `g = softmax(W x + b)`, over all adapters or the best `k`.

    `u_i` is what adapter `i` adds to `x`. With `top_k` the others' weights are zero and those of
    the best are normalised again (Shazeer et al. 2017, arXiv:1701.06538). `adapters.penalty()`
    gives `balance * N * sum_i f_i P_i` for each site, `f_i` the share of the choices that fell on
    adapter `i` and `P_i` its mean probability (Fedus et al. 2021, arXiv:2101.03961, equation 4); it
    is `balance` when all adapters are used alike. Padding does not count. Parameters for one site:
    `width * N + N`.

    Args:
        per: Whether each token has weights of its own or all of a sequence share theirs, read off
            its mean.
        top_k: How many adapters act on a token, or `None` for all.
        balance: Weight of the loss term, at least 0.

    Raises:
        ConfigError: If a value is not allowed.
    """

    name: ClassVar[str] = "gate"

    per: Per = "token"
    top_k: int | None = None
    balance: float = 0.01

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_choice("Gate", "per", self.per, get_args(Per))
        check_at_least("Gate", "balance", self.balance, 0)
        if self.top_k is not None:
            check_at_least("Gate", "top_k", self.top_k, 1)

    @override
    def build(self, place: Place, number: int) -> "GateLayer":
        if self.top_k is not None and self.top_k > number:
            raise ConfigError(f"Gate(top_k={self.top_k}): there are only {number} adapters.")
        if self.per == "sequence" and place.causal:
            raise ConfigError(
                "Gate(per='sequence') reads the whole sequence, but this model's positions see "
                "earlier ones only; use per='token'."
            )
        return GateLayer(self, width=place.width, number=number, positions=place.position_dims)


@final
class GateLayer(AbstractCombiner):
    """The trainable map of `Gate` at one site."""

    def __init__(self, method: Gate, *, width: int, number: int, positions: int) -> None:
        super().__init__()
        self.per, self.top_k, self.balance = method.per, method.top_k, method.balance
        self.positions = positions
        self.map = nn.Linear(width, number)
        # Small, so that all adapters start nearly alike, but not zero: ties would choose for ever.
        nn.init.normal_(self.map.weight, std=0.01)
        nn.init.zeros_(self.map.bias)

    @override
    def forward(self, x: Tensor, updates: Tensor, mask: Tensor | None = None) -> Combined:
        dtype = self.map.weight.dtype
        x, updates = x.to(dtype), updates.to(dtype)
        if self.per == "sequence":
            x, mask = self.mean(x, mask), None
        probabilities = self.map(x).softmax(-1)
        weights = probabilities
        if self.top_k is not None:
            best, chosen = probabilities.topk(self.top_k, dim=-1)
            weights = torch.zeros_like(probabilities).scatter(
                -1, chosen, best / best.sum(-1, keepdim=True)
            )
        loss = self.imbalance(probabilities, weights, mask)
        update = torch.einsum("...n,n...d->...d", weights.expand(*updates.shape[1:-1], -1), updates)
        return Combined(update, weights, loss)

    def mean(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the mean over the real positions, which keep their dimensions at size 1."""
        if x.ndim < self.positions + 2:
            raise ConfigError(
                "Gate(per='sequence'): this place of the model has no sequences, only "
                f"{x.ndim}-dimensional values; use per='token'."
            )
        over = tuple(range(1, 1 + self.positions))
        if mask is None:
            return x.mean(over, keepdim=True)
        real = mask.unsqueeze(-1).to(x.dtype)
        return (x * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp_min(1)

    def imbalance(self, probabilities: Tensor, weights: Tensor, mask: Tensor | None) -> Tensor:
        """Return the loss term, smallest when all adapters are used alike."""
        number = probabilities.shape[-1]
        flat, used = probabilities.reshape(-1, number), weights.reshape(-1, number)
        if mask is not None and mask.numel() == len(flat):
            real = mask.reshape(-1).bool()
            flat, used = flat[real], used[real]
        if self.top_k is None:
            share = flat.mean(0)
        else:
            share = (used > 0).to(flat.dtype).mean(0) / self.top_k
        return self.balance * number * (share * flat.mean(0)).sum()

    @override
    def penalty(self) -> Tensor:
        """Return zero: the loss term of a gate depends on what it has read."""
        return self.map.bias.new_zeros(())
