"""AdapterFusion: learned attention over the updates of several adapters (Pfeiffer 2021)."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.base import Input, Place, check_at_least, check_choice
from inlay.methods.combining import AbstractCombineMethod, AbstractCombiner, Combined
from inlay.ops.fusion import (
    FusionWeights,
    LowRankUpdates,
    fold,
    fuse,
    fuse_folded,
    fuse_low_rank,
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Fusion(AbstractCombineMethod):
    """Compute `x' = x + W_v sum_i p_i u_i`, `p = softmax_i((W_q x + b_q) . (W_k u_i) / t)`.

    `u_i` is what adapter `i` adds to `x` (Pfeiffer et al. 2021, arXiv:2005.00247, equation 4).
    `W_v` starts as the identity plus noise of deviation 1e-6 and is pulled towards it by
    `regularisation * |W_v - I|^2`, which `adapters.penalty()` gives. A bias of the keys, which
    other libraries have, would be the same for all adapters and cancel in the softmax. Parameters
    for one site: `3 * width**2 + width`.

    Args:
        query: What the query is made of: `"x"`, `"r"`, `"x+r"` or `"norm(x+r)"`; the paper's is the
            sublayer's output `x`, AdapterHub's what the last adapter reads.
        adds_query: Add what the query is made of once more, as AdapterHub does over parallel
            bottlenecks.
        temperature: Divides the scores, above 0; 1 in the paper.
        regularisation: Weight of the loss term, at least 0.

    Raises:
        ConfigError: If a value is not allowed.
    """

    name: ClassVar[str] = "fusion"

    query: Input = "x"
    adds_query: bool = False
    temperature: float = 1.0
    regularisation: float = 0.01

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_choice("Fusion", "query", self.query, ("x", "r", "x+r", "norm(x+r)"))
        if self.temperature <= 0:
            raise ConfigError(f"Fusion(temperature={self.temperature!r}): must be above 0.")
        check_at_least("Fusion", "regularisation", self.regularisation, 0)

    @override
    def build(self, place: Place, number: int) -> "FusionLayer":
        return FusionLayer(self, width=place.width)


@final
class FusionLayer(AbstractCombiner):
    """The trainable matrices of `Fusion` at one site."""

    def __init__(self, method: Fusion, *, width: int) -> None:
        super().__init__()
        self.reads = method.query
        self.temperature, self.regularisation = method.temperature, method.regularisation
        self.adds_query = method.adds_query
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        with torch.no_grad():
            self.value.weight.copy_(torch.eye(width) + torch.randn(width, width) * 1e-6)

    @property
    def weights(self) -> FusionWeights:
        """The trained matrices."""
        return FusionWeights(self.query.weight, self.query.bias, self.key.weight, self.value.weight)

    @override
    def forward(self, x: Tensor, updates: Tensor, mask: Tensor | None = None) -> Combined:
        x = x.to(self.query.weight.dtype)
        return self._combined(x, *fuse(x, updates.to(x.dtype), self.weights, self.temperature))

    def forward_low_rank(self, x: Tensor, updates: LowRankUpdates) -> Combined:
        """Combine updates that are known in two factors, without computing them.

        Args:
            x: What `reads` names, `(..., width)`.
            updates: The factors, in the precision of the matrices.
        """
        x = x.to(self.query.weight.dtype)
        if x[..., 0].numel() <= sum(updates.ranks):
            return self._combined(x, *fuse_low_rank(x, updates, self.weights, self.temperature))
        # Folding costs as much as the square matrices on as many tokens as there are ranks.
        folded = fold(updates.up, updates.bias, updates.ranks, self.weights)
        return self._combined(x, *fuse_folded(x, updates.hidden, folded, self.temperature))

    def _combined(self, x: Tensor, update: Tensor, weights: Tensor) -> Combined:
        return Combined(update + x if self.adds_query else update, weights)

    @override
    def penalty(self) -> Tensor:
        """Return `regularisation * |W_v - I|^2`, the squared Frobenius norm."""
        weight = self.value.weight
        identity = torch.eye(len(weight), device=weight.device, dtype=weight.dtype)
        return self.regularisation * (weight - identity).square().sum()
