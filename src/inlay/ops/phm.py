"""Linear maps whose matrix is a sum of Kronecker products, `W = sum_i A_i kron (s_i t_i)`."""

import torch
from torch import Tensor
from torch.nn.functional import linear


def phm_weight(rule: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return `W` (Mahabadi et al. 2021, arXiv:2106.04647), `(..., out_width, in_width)`.

    Args:
        rule: The `A_i`, `(..., n, n, n)`, the first of the three counting them.
        left: The `s_i`, `(..., n, out_width / n, rank)`.
        right: The `t_i`, `(..., n, rank, in_width / n)`.
    """
    tall = torch.einsum("...ipq,...iab->...paqb", rule, left @ right)
    n = rule.shape[-1]
    return tall.reshape(*rule.shape[:-3], n * left.shape[-2], n * right.shape[-1])


def phm_linear(x: Tensor, rule: Tensor, left: Tensor, right: Tensor, bias: Tensor) -> Tensor:
    """Return `W x + b`, through the factors where that takes fewer multiplications than `W`.

    A position costs `n * rank * (in_width + out_width) + n^3 * rank` through the factors, which
    never form a Kronecker product, and `in_width * out_width` through `W`.

    Args:
        x: `(..., in_width)`.
        rule: As in `phm_weight`, without leading dimensions; so are `left` and `right`.
        left: `(n, out_width / n, rank)`.
        right: `(n, rank, in_width / n)`.
        bias: `(out_width,)`.

    Returns:
        `(..., out_width)`.
    """
    n, part, rank = left.shape
    in_width, out_width = n * right.shape[-1], n * part
    if n * rank * (in_width + out_width + n * n) >= in_width * out_width:
        return linear(x, phm_weight(rule, left, right), bias)
    # First every t_i on each block of x, then A_i over the blocks, then s_i.
    inner = linear(x.reshape(-1, n, right.shape[-1]), right.reshape(n * rank, -1))
    mixed = torch.einsum("xqik,ipq->xpik", inner.view(-1, n, n, rank), rule)
    result = linear(mixed.reshape(-1, n, n * rank), left.transpose(0, 1).reshape(part, n * rank))
    return result.reshape(*x.shape[:-1], out_width) + bias
