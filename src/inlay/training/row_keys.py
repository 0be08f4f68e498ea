"""What tells the rows of a pass apart, so that what was computed for one is found again."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Side = Literal["all", "encoder", "decoder"]


@final
@dataclass(frozen=True, slots=True)
class RowKeys:
    """What tells the rows of a pass apart.

    Attributes:
        keys: One for each row: a hash of all that the base was given for it.
        lengths: Positions of each row up to its last that is no padding; `None` if that is not
            known, and rows are kept as they came.
        padded: Positions of the longest.
    """

    keys: list[bytes]
    lengths: list[int] | None
    padded: int


def row_keys(arguments: Mapping[str, Any], side: Side) -> RowKeys | None:
    """Hash each row of a call's arguments; `None` if they have parts that are no rows.

    Padding behind a row does not count, so that a row is the same in any batch.

    Args:
        arguments: What the model was called with, by name.
        side: What the states depend on: `all` arguments; of an encoder-decoder model those of the
            `encoder`; or all of them, with positions counted in the `decoder`.
    """
    own = {
        name: value
        for name, value in arguments.items()
        if value is not None and not (side == "encoder" and _is_for_decoder(name))
    }
    tensors = {name: value for name, value in own.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in own.items() if name not in tensors}
    if not tensors or not all(isinstance(v, bool | int | float | str) for v in plain.values()):
        return None
    sizes = {len(value) if value.ndim else 0 for value in tensors.values()}
    if len(sizes) != 1 or 0 in sizes:
        return None
    groups: list[dict[str, Tensor]] = [{}, {}]
    for name, value in sorted(tensors.items()):
        groups[side == "decoder" and _is_for_decoder(name)][name] = value
    ends = [_ends(group) for group in groups]
    common = hashlib.blake2b(repr(sorted(plain.items())).encode()).digest()
    parts = [
        (name, value.dtype, _as_bytes(value), end)
        for group, end in zip(groups, ends, strict=True)
        for name, value in group.items()
    ]
    keys = []
    for row in range(sizes.pop()):
        digest = hashlib.blake2b(common, digest_size=16)
        for name, dtype, values, end in parts:
            part = values[row] if end is None else values[row, : end[row]]
            digest.update(f"{name}{part.shape[:-1]}{dtype}".encode())
            digest.update(part.tobytes())
        keys.append(digest.digest())
    about = 1 if side == "decoder" else 0
    padded = next((v.shape[1] for v in groups[about].values() if v.ndim > 1), 0)
    return RowKeys(keys, ends[about], padded)


def _as_bytes(value: Tensor) -> NDArray[np.uint8]:
    """Return each value of a tensor as its bytes, in one more dimension."""
    values = value.detach().cpu().contiguous().unsqueeze(-1)
    found: NDArray[np.uint8] = values.view(torch.uint8).numpy()
    return found


def _is_for_decoder(name: str) -> bool:
    return name.startswith("decoder_") or name == "labels"


def _ends(group: Mapping[str, Tensor]) -> list[int] | None:
    """Return how far each row goes, if the arguments are sequences of one length with a mask."""
    if "attention_mask" in group:
        known = group["attention_mask"]
    elif "decoder_attention_mask" in group:
        known = group["decoder_attention_mask"]
    elif "labels" in group:
        known = group["labels"] != -100  # what transformers' losses ignore
    else:
        return None
    if known.ndim != 2 or any(v.ndim < 2 or v.shape[1] != known.shape[1] for v in group.values()):
        return None
    positions = torch.arange(1, known.shape[1] + 1, device=known.device)
    ends: list[int] = (positions * (known != 0)).amax(1).clamp_min(1).tolist()
    return ends
