"""Several short examples in one row, of which none sees another."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inlay.errors import ConfigError, InlayError
from inlay.tasks.base import Batch, Encoded
from inlay.tasks.writing import IGNORED, pad, padding_of

_PROBED = 12
"""Tokens of an example that the base is tried on."""


def pack(rows: Sequence[Encoded], size: int) -> list[Encoded]:
    """Put encoded examples together, each into the fullest row that has room, the longest first.

    Args:
        rows: With targets, each of at most `size` tokens.
        size: Tokens of a row, at most.
    """
    free: dict[int, list[list[Encoded]]] = {}
    packed: list[list[Encoded]] = []
    for row in sorted(rows, key=lambda row: -row.length):
        room = next((r for r in range(row.length, size + 1) if free.get(r)), size)
        own: list[Encoded] = free[room].pop() if free.get(room) else []
        if not own:
            packed.append(own)
        own.append(row)
        free.setdefault(room - row.length, []).append(own)
    return [_joined(own, size) for own in packed]


def _joined(rows: Sequence[Encoded], size: int) -> Encoded:
    ids = [token for row in rows for token in row.features["input_ids"]]
    target: list[int] = []
    for row in rows:
        # The first token follows the example before it, which does not tell it.
        target += [IGNORED, *row.target[1:]]
    lengths = [row.length for row in rows]
    return Encoded({"input_ids": ids}, target, rows[0].row, {"packed": lengths, "size": size})


def collate_packed(rows: Sequence[Encoded], tokenizer: Any) -> Batch:
    """Pad packed rows to their common size, so that a row is the same in any batch.

    Positions begin anew with each example; `segments` are the examples' numbers from 1, and 0 is
    padding, which sees itself only.
    """
    size = rows[0].extra["size"]
    filled: dict[str, list[list[int]]] = {"input_ids": [], "position_ids": [], "segments": []}
    for row in rows:
        lengths: list[int] = row.extra["packed"]
        rest = size - row.length
        filled["input_ids"].append(row.features["input_ids"] + [padding_of(tokenizer)] * rest)
        filled["position_ids"].append([at for length in (*lengths, rest) for at in range(length)])
        numbers = [number for number, length in enumerate(lengths, 1) for _ in range(length)]
        filled["segments"].append(numbers + [0] * rest)
    targets = pad([row.target + [IGNORED] * (size - row.length) for row in rows], IGNORED)
    return Batch({name: torch.tensor(own) for name, own in filled.items()}, targets)


def block_mask(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is added to attention scores, `(rows, 1, positions, positions)`.

    0 where a position may see another: itself or an earlier one of the same segment; elsewhere the
    least number of the type, whose softmax is 0.

    Args:
        segments: `(rows, positions)`.
        dtype: Of the base.
    """
    same = segments[:, None, :, None] == segments[:, None, None, :]
    size = segments.shape[1]
    earlier = torch.ones(size, size, dtype=torch.bool, device=segments.device).tril()
    mask = torch.zeros(same.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill(~(same & earlier), torch.finfo(dtype).min)


def packed_logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Run a base on packed rows, `(rows, positions, tokens)`."""
    dtype = model.get_input_embeddings().weight.dtype
    logits: Tensor = model(
        input_ids=inputs["input_ids"],
        position_ids=inputs["position_ids"],
        attention_mask=block_mask(inputs["segments"], dtype),
        use_cache=False,
    ).logits
    return logits


def check_apart(model: nn.Module, rows: Sequence[Encoded], tokenizer: Any) -> None:
    """Try two examples in one row: each must get what it gets alone, whatever the other is.

    Args:
        model: The base with its adapter active.
        rows: Encoded examples.
        tokenizer: Pads.

    Raises:
        ConfigError: If the base or the adapter cannot keep them apart; with the reason.
    """
    ids = [row.features["input_ids"][:_PROBED] for row in rows if row.length > 1][:2]
    if len(ids) < 2:
        return  # a row of its own for each
    others = [[(token + 1) % len(tokenizer) for token in ids[0]], ids[1]]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            together, beside_other = (_last_of(model, own, tokenizer) for own in (ids, others))
            device = next(model.parameters()).device
            alone = model(input_ids=torch.tensor([ids[1]], device=device), use_cache=False).logits
    except (InlayError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise ConfigError(
            f"task option packing=true: {type(model).__name__} with this adapter does not run on "
            f"packed rows ({str(error).splitlines()[0][:200]}). Leave it out."
        ) from error
    finally:
        for module, training in modes:
            module.training = training
    is_exact = together.dtype in (torch.float32, torch.float64)
    for found, what, tolerance in (
        (beside_other, "an example sees the one before it", 1e-5 if is_exact else 1e-2),
        (alone[0], "an example gets another result than alone", 1e-4 if is_exact else 5e-2),
    ):
        if bool((found - together).abs().amax() > tolerance * together.abs().amax()):
            raise ConfigError(
                f"task option packing=true: with {type(model).__name__} and this adapter {what}, "
                "so rows cannot hold several. Leave it out."
            )


def _last_of(model: nn.Module, ids: Sequence[list[int]], tokenizer: Any) -> Tensor:
    """Return the logits of the second of two examples in one row."""
    rows = [Encoded({"input_ids": own}, [IGNORED] * len(own)) for own in ids]
    row = _joined(rows, sum(map(len, ids)) + 1)
    device = next(model.parameters()).device
    inputs = collate_packed([row], tokenizer).to(device).inputs
    return packed_logits(model, inputs)[0, len(ids[0]) : -1]
