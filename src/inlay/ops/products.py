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
    dtype = outputs.dtype
    if hidden.dtype != dtype or torch.is_autocast_enabled(outputs.device.type):
        own = None if bias is None else bias.to(hidden.dtype)
        update = torch.nn.functional.linear(hidden, weight.to(hidden.dtype), own)
        return outputs + update.to(dtype)
    flat, up = outputs.reshape(-1, outputs.shape[-1]), weight.to(dtype).T
    hidden = hidden.reshape(-1, hidden.shape[-1])
    if bias is None:
        return torch.addmm(flat, hidden, up).view(outputs.shape)
    # The sum with the bias is a tensor of our own, so that the product is added in place.
    return (flat + bias.to(dtype)).addmm_(hidden, up).view(outputs.shape)
