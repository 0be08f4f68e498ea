"""What a tensor of any foreign file must be: finite numbers."""

from pathlib import Path

import torch
from torch import Tensor

from inlay.errors import FormatError


def check_numbers(path: Path, key: str, tensor: Tensor) -> None:
    """Refuse a tensor that is no plain table of finite floating-point numbers.

    Raises:
        FormatError: Naming the tensor.
    """
    if not tensor.is_floating_point() or tensor.layout != torch.strided:
        raise FormatError(f"{path}: tensor {key!r} is of type {tensor.dtype}; expected floats.")
    if not bool(torch.isfinite(tensor).all()):
        raise FormatError(
            f"{path}: tensor {key!r} has entries that are no finite numbers (NaN or infinite); "
            "the training that gave it has failed, or the file is damaged."
        )
