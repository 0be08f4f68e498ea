"""Attention over adapters' updates, without a key and a value for each adapter.

Two exact rewrites of AdapterFusion: the key projection is folded into the query, since
`q . (W_k u + b_k)` is `(W_k^T q) . u` and the rest, which is the same for all adapters and cancels
in the softmax; and updates are mixed before the value projection, which is linear without a bias.

Letters: N adapters, D width, R the adapters' ranks together.
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn.functional import linear


class FusionWeights(NamedTuple):
    """The trained weights of one fusion; matrices are `(D, D)` and multiply from the left."""

    query: Tensor
    query_bias: Tensor
    key: Tensor
    value: Tensor


@final
@dataclass(frozen=True, slots=True)
class LowRankUpdates:
    """The updates `U_i h_i + b_i` of N adapters before they are computed."""

    hidden: Tensor
    """All `h_i` side by side, `(..., R)`."""
    up: Tensor
    """All `U_i` side by side, `(D, R)`."""
    bias: Tensor
    """All `b_i`, `(N, D)`."""
    ranks: tuple[int, ...]
    """Columns of each adapter, N numbers that sum to R."""


@final
@dataclass(frozen=True, slots=True)
class FoldedFusion:
    """A fusion and its adapters' up-projections in one: no product of size `D x D` is left."""

    score: Tensor
    """`(R, D)`"""
    score_bias: Tensor
    """`(R,)`"""
    constant: Tensor
    """`(N, D)`"""
    constant_bias: Tensor
    """`(N,)`"""
    value: Tensor
    """`(D, R)`"""
    value_bias: Tensor
    """`(D, N)`"""
    ranks: tuple[int, ...]


def fuse(
    x: Tensor, updates: Tensor, weights: FusionWeights, temperature: float
) -> tuple[Tensor, Tensor]:
    """Attend over updates of any kind.

    Args:
        x: `(..., D)`, what the query is made from.
        updates: `(N, ..., D)`.
        weights: The trained weights.
        temperature: Divides the scores.

    Returns:
        The combined update `(..., D)`, and the attention `(..., N)`.
    """
    query = _folded_query(x, weights)
    scores = torch.einsum("...d,n...d->...n", query, updates)
    attention = (scores / temperature).softmax(-1)
    mixed = torch.einsum("...n,n...d->...d", attention, updates)
    return linear(mixed, weights.value), attention


def fuse_low_rank(
    x: Tensor, updates: LowRankUpdates, weights: FusionWeights, temperature: float
) -> tuple[Tensor, Tensor]:
    """Attend over low-rank updates without computing one of them.

    Args:
        x: `(..., D)`.
        updates: The adapters' updates in two factors.
        weights: The trained weights.
        temperature: Divides the scores.

    Returns:
        As `fuse`.
    """
    query = _folded_query(x, weights)
    owners = _owners(updates.ranks, x)
    scores = (query @ updates.up * updates.hidden) @ owners + linear(query, updates.bias)
    attention = (scores / temperature).softmax(-1)
    mixed = linear(updates.hidden * linear(attention, owners), updates.up)
    mixed = mixed + attention @ updates.bias
    return linear(mixed, weights.value), attention


def fold(up: Tensor, bias: Tensor, ranks: tuple[int, ...], weights: FusionWeights) -> FoldedFusion:
    """Multiply a fusion's matrices into its adapters' up-projections.

    `3 R D^2` multiplications, which pays for more than R tokens.
    """
    up_key, bias_key = up.T @ weights.key.T, bias @ weights.key.T
    return FoldedFusion(
        up_key @ weights.query,
        up_key @ weights.query_bias,
        bias_key @ weights.query,
        bias_key @ weights.query_bias,
        weights.value @ up,
        weights.value @ bias.T,
        ranks,
    )


def fuse_folded(
    x: Tensor, hidden: Tensor, folded: FoldedFusion, temperature: float
) -> tuple[Tensor, Tensor]:
    """Attend with folded weights: `6 R D` multiplications for each token, none of `D * D`.

    Args:
        x: `(..., D)`.
        hidden: All `h_i` side by side, `(..., R)`.
        folded: What `fold` gave.
        temperature: Divides the scores.

    Returns:
        As `fuse`.
    """
    owners = _owners(folded.ranks, x)
    scores = (linear(x, folded.score, folded.score_bias) * hidden) @ owners
    scores = scores + linear(x, folded.constant, folded.constant_bias)
    attention = (scores / temperature).softmax(-1)
    update = linear(hidden * linear(attention, owners), folded.value)
    return update + linear(attention, folded.value_bias), attention


def _folded_query(x: Tensor, weights: FusionWeights) -> Tensor:
    return linear(x, weights.query, weights.query_bias) @ weights.key


def _owners(ranks: tuple[int, ...], like: Tensor) -> Tensor:
    """Return `(R, N)`, 1 where a column of the hidden values belongs to an adapter."""
    numbers = torch.arange(len(ranks), device=like.device)
    owner = numbers.repeat_interleave(torch.tensor(ranks, device=like.device))
    return (owner.unsqueeze(1) == numbers).to(like.dtype)
