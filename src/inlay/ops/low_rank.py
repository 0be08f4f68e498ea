"""The low-rank update `x A^T B^T` and its merge into a weight."""

import torch
from torch import Tensor


def low_rank(x: Tensor, a: Tensor, b: Tensor, scale: float | Tensor) -> Tensor:
    """Return `scale * B A x` without ever forming `B A`.

    Args:
        x: `(..., in_width)`.
        a: `(rank, in_width)`.
        b: `(out_width, rank)`.
        scale: A number, or a tensor that broadcasts against `(..., out_width)`.

    Returns:
        `(..., out_width)` in the dtype of the factors.
    """
    hidden = torch.nn.functional.linear(x.to(a.dtype), a)
    return torch.nn.functional.linear(hidden, b) * scale


def low_rank_weight(a: Tensor, b: Tensor, scale: float | Tensor) -> Tensor:
    """Return the matrix `scale * B A`, `(out_width, in_width)`, computed in at least float32."""
    dtype = torch.promote_types(a.dtype, torch.float32)
    return (b.to(dtype) @ a.to(dtype)) * scale
