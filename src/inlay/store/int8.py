"""Keep the linear maps of a frozen base in 8 bits, through torchao."""

from collections.abc import Iterator

import torch
from torch import nn

from inlay.adapters.bank import Adapters
from inlay.errors import BaseError
from inlay.optional import require
from inlay.sites.fingerprint import keep_fingerprint


def to_int8(adapters: Adapters) -> None:
    """Store each linear map of the blocks in int8, a scale for each row; the rest stays.

    What they multiply stays in the base's own precision (weight-only quantisation). Sites are
    found, and the fingerprint is taken, on the weights as they were, so adapters trained on such a
    base belong to the base itself.

    Args:
        adapters: Of a base that was just loaded.

    Raises:
        MissingExtraError: If torchao is not installed.
        BaseError: If no block has a linear map that torchao knows.
    """
    torchao = require("torchao.quantization", extra="int8", purpose="trunk int8")
    model, sites = adapters.model, adapters.sites
    keep_fingerprint(model, sites)
    blocks = tuple(f"{site.module}." for site in sites if site.kind == "block")

    def is_inside(module: nn.Module, path: str) -> bool:
        return type(module) is nn.Linear and path.startswith(blocks)

    if not any(is_inside(module, path) for path, module in model.named_modules()):
        raise BaseError(
            "trunk int8: the blocks of this base have no `torch.nn.Linear`, which is all that "
            "can be stored in int8; leave it out."
        )
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig(), filter_fn=is_inside)


def plain_tensors(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Give the tensors that a quantised one is made of; one that is not is given itself."""
    flatten = getattr(tensor, "__tensor_flatten__", None)  # PyTorch's own protocol
    if flatten is None:
        yield tensor
        return
    for name in flatten()[0]:
        yield from plain_tensors(getattr(tensor, name))
