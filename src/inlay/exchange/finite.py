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
    if tensor.element_size() < 2:  # nothing can be computed with 8 bits as they are
        raise FormatError(
            f"{path}: tensor {key!r} is of type {tensor.dtype}; expected floats of at least 16 "
            "bits. Save the adapter again in float32 or bfloat16."
        )
    if not bool(torch.isfinite(tensor).all()):
        raise FormatError(
            f"{path}: tensor {key!r} has entries that are no finite numbers (NaN or infinite); "
            "the training that gave it has failed, or the file is damaged."
        )
