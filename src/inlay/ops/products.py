"""An adapter's own products, in the precision of the base that they are for."""

import torch
from torch import Tensor


def product_dtype(outputs: Tensor, weight: Tensor) -> torch.dtype:
    """Return what an adapter multiplies in; its weights stay as they are.

    In bfloat16 where the base's outputs are, since the update is rounded to that anyway and
    hardware multiplies it faster; else in the precision of the weights.
    """
    return torch.bfloat16 if outputs.dtype == torch.bfloat16 else weight.dtype


def add_product(
    outputs: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return `outputs + W hidden + b` in the precision of the outputs.

    Args:
        outputs: `(..., width)`.
        hidden: `(..., inner)`.
        weight: `(width, inner)`.
        bias: `(width,)`, or `None`.

    Returns:
        `(..., width)`.
    """
    if hidden.dtype != outputs.dtype or torch.is_autocast_enabled(outputs.device.type):
        own = None if bias is None else bias.to(hidden.dtype)
        update = torch.nn.functional.linear(hidden, weight.to(hidden.dtype), own)
        return outputs + update.to(outputs.dtype)
    if bias is not None:
        hidden, weight = with_bias(hidden, weight, bias)
    flat, inner = outputs.reshape(-1, outputs.shape[-1]), hidden.reshape(-1, hidden.shape[-1])
    return torch.addmm(flat, inner, weight.to(outputs.dtype).T).view(outputs.shape)


def with_bias(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Make a bias one more column of the weight, for a channel of ones.

    A sum with the bias would be one more pass over all that is wide, forward and backward.

    Args:
        hidden: `(..., inner)`.
        weight: `(..., width, inner)`.
        bias: `(..., width)`.

    Returns:
        Both with `inner + 1` for `inner`.
    """
    ones = torch.nn.functional.pad(hidden, (0, 1), value=1.0)
    return ones, torch.cat([weight, bias.unsqueeze(-1)], dim=-1)
