"""Loop-by-loop twins of the functions beside this file: the truth that tests compare with."""

import torch
from torch import Tensor


def low_rank(x: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Return `scale * B A x`, one output channel after the other, through the full matrix."""
    matrix = b @ a
    columns = [(x * row).sum(-1) * scale for row in matrix]
    return torch.stack(columns, dim=-1)


def depthwise(x: Tensor, kernel: Tensor, bias: Tensor, *, causal: bool) -> Tensor:
    """Convolve each channel over the positions, one position after the other.

    Args:
        x: `(batch, positions, width)`.
        kernel: `(width, taps)`, an odd number of taps unless `causal`.
        bias: `(width,)`.
        causal: Whether the last tap, not the middle one, lies on the position itself.
    """
    positions, taps = x.shape[1], kernel.shape[1]
    centre = taps - 1 if causal else taps // 2
    columns = []
    for position in range(positions):
        total = bias.expand(x.shape[0], -1).clone()
        for tap in range(taps):
            source = position + tap - centre
            if 0 <= source < positions:
                total = total + x[:, source] * kernel[:, tap]
        columns.append(total)
    return torch.stack(columns, dim=1)
