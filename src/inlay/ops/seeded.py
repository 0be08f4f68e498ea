"""Random matrices that a seed gives again, bit for bit, on every machine and in every version."""

import numpy as np
import torch
from torch import Tensor


def seeded_uniform(rows: int, columns: int, bound: float, *, seed: int, stream: int) -> Tensor:
    """Return a matrix with entries drawn evenly from `[-bound, bound)`.

    It depends on nothing but the arguments. PyTorch's generators may change between versions;
    NumPy guarantees the integers of PCG64, and the rest is arithmetic without rounding but in
    one product.

    Args:
        rows: At least 1.
        columns: At least 1.
        bound: The largest size of an entry.
        seed: At least 0.
        stream: Tells apart matrices of one seed and shape.

    Returns:
        `(rows, columns)` in float32, on the CPU.
    """
    bits = np.random.PCG64([seed, stream, rows, columns]).random_raw(rows * columns)
    # The upper 24 bits are as many as a float32 holds.
    even = (bits >> np.uint64(40)).astype(np.int64) - 2**23
    values = even.astype(np.float32) * np.float32(bound / 2**23)
    return torch.from_numpy(values.reshape(rows, columns))
