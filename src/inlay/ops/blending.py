"""How several matrices become one: weighted sum, TIES, DARE, and the nearest of low rank."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class LowRankFit(NamedTuple):
    """The nearest matrix `up @ down` of a rank, and how much of the asked one it leaves out."""

    up: Tensor
    """`(rows, rank)`"""
    down: Tensor
    """`(rank, columns)`"""
    lost: float
    """Squared Frobenius norm of what is left out."""
    total: float
    """Squared Frobenius norm of the matrix that was asked for."""


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return `sum_i w_i T_i`, in the dtype of the tensors."""
    total = torch.zeros_like(tensors[0])
    for tensor, weight in zip(tensors, weights, strict=True):
        total = total + weight * tensor
    return total


def trim(tensor: Tensor, density: float) -> Tensor:
    """Keep the entries of largest magnitude, `density` of them and at least one; others are 0.

    Entries as large as the smallest one kept are kept too, so the result does not depend on order.
    """
    kept = max(1, round(density * tensor.numel()))
    if kept >= tensor.numel():
        return tensor
    size = tensor.abs()
    least = size.flatten().kthvalue(tensor.numel() - kept + 1).values
    return torch.where(size >= least, tensor, torch.zeros_like(tensor))


def ties(tensors: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """Trim, elect a sign for each entry, and average the entries that agree with it.

    Yadav et al. 2023 (arXiv:2306.01708), section 4: each tensor keeps the `density` of its entries
    that are largest; an entry's sign is that of the (weighted) sum; the result is the (weighted)
    mean over the tensors whose entry is not 0 and has this sign. The paper has equal weights; here
    weights are relative, and a negative one turns a tensor around. Where the sum is 0 so is the
    result.
    """
    trimmed = [trim(tensor, density) for tensor in tensors]
    elected = weighted_sum(trimmed, weights).sign()
    total, share = torch.zeros_like(elected), torch.zeros_like(elected)
    for tensor, weight in zip(trimmed, weights, strict=True):
        agrees = ((weight * tensor).sign() == elected) & (elected != 0)
        total = total + torch.where(agrees, weight * tensor, 0.0)
        share = share + abs(weight) * agrees
    return torch.where(share > 0, total / share.where(share > 0, 1.0), 0.0)


def dare(
    tensors: Sequence[Tensor], weights: Sequence[float], density: float, seeds: Sequence[int]
) -> Tensor:
    """Drop entries at random, rescale the rest by `1 / density`, and return the weighted sum.

    Yu et al. 2023 (arXiv:2311.03099), with drop rate `1 - density`. The mean over seeds is the
    weighted sum. Drawn on the CPU, so that a seed gives the same on every device.

    Args:
        tensors: The task vectors, of equal shapes.
        weights: One for each.
        density: Share of the entries that are kept, in (0, 1].
        seeds: One for each tensor.
    """
    thinned = []
    for tensor, seed in zip(tensors, seeds, strict=True):
        draw = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(seed))
        kept = (draw < density).to(tensor.device)
        thinned.append(torch.where(kept, tensor / density, 0.0))
    return weighted_sum(thinned, weights)


def nearest_low_rank(matrix: Tensor, rank: int) -> LowRankFit:
    """Return the nearest matrix of at most `rank` in two factors (Eckart and Young 1936).

    Each factor gets the square root of the singular values; ranks that the matrix does not have
    are filled with zeros.

    Args:
        matrix: `(rows, columns)`.
        rank: At least 1.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return _cut(left, values, right, rank)


def nearest_low_rank_of_product(up: Tensor, down: Tensor, rank: int) -> LowRankFit:
    """Return what `nearest_low_rank(up @ down, rank)` does, without forming the product.

    Args:
        up: `(rows, inner)`.
        down: `(inner, columns)`.
        rank: At least 1.
    """
    rows, upper = torch.linalg.qr(up)
    columns, lower = torch.linalg.qr(down.T)
    left, values, right = torch.linalg.svd(upper @ lower.T, full_matrices=False)
    return _cut(rows @ left, values, right @ columns.T, rank)


def _cut(left: Tensor, values: Tensor, right: Tensor, rank: int) -> LowRankFit:
    root = values[:rank].sqrt()
    up, down = left[:, :rank] * root, root.unsqueeze(-1) * right[:rank]
    missing = rank - len(root)
    if missing > 0:
        up = torch.cat([up, up.new_zeros(len(up), missing)], dim=1)
        down = torch.cat([down, down.new_zeros(missing, down.shape[1])])
    squares = values.square()
    return LowRankFit(up, down, float(squares[rank:].sum()), float(squares.sum()))
