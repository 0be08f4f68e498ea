"""Loop-by-loop twins of the functions beside this file: the truth that tests compare with."""

import torch
from torch import Tensor


def low_rank(x: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Return `scale * B A x`, one output channel after the other, through the full matrix."""
    matrix = b @ a
    columns = [(x * row).sum(-1) * scale for row in matrix]
    return torch.stack(columns, dim=-1)


def phm_linear(x: Tensor, rule: Tensor, left: Tensor, right: Tensor, bias: Tensor) -> Tensor:
    """Return `W x + b` with the sum of Kronecker products as it is written, entry by entry."""
    parts, rows, columns = len(rule), left.shape[1], right.shape[2]
    result = []
    for out in range(parts * rows):
        total = bias[out].expand(x.shape[:-1])
        for source in range(parts * columns):
            (p, a), (q, b) = divmod(out, rows), divmod(source, columns)
            entry = sum(rule[i, p, q] * (left[i, a] * right[i, :, b]).sum() for i in range(parts))
            total = total + x[..., source] * entry
        result.append(total)
    return torch.stack(result, dim=-1)


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


def fuse(
    x: Tensor,
    updates: Tensor,
    query: Tensor,
    query_bias: Tensor,
    key: Tensor,
    key_bias: Tensor,
    value: Tensor,
    temperature: float,
) -> Tensor:
    """Attend over adapters as AdapterFusion is written: a key and a value for every adapter.

    Args:
        x: `(tokens, width)`.
        updates: `(number, tokens, width)`.
        query: `(width, width)`, with `query_bias`; so are `key`, with `key_bias`, and `value`.
        query_bias: `(width,)`.
        key: `(width, width)`.
        key_bias: `(width,)`.
        value: `(width, width)`.
        temperature: Divides the scores.
    """
    rows = []
    for token in range(len(x)):
        asked = query @ x[token] + query_bias
        keys = [key @ update[token] + key_bias for update in updates]
        weights = torch.stack([(asked * k).sum() / temperature for k in keys]).softmax(0)
        values = [value @ update[token] for update in updates]
        rows.append((weights.unsqueeze(-1) * torch.stack(values)).sum(0))
    return torch.stack(rows)


def grouped_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, numbers: tuple[int, ...]
) -> Tensor:
    """Return `W_s x + b_s` row by row; arguments as in `inlay.ops.grouped`."""
    rows = []
    for row, slot in zip(x, numbers, strict=True):
        result = row @ weight[slot].T
        rows.append(result if bias is None else result + bias[slot])
    return torch.stack(rows)


def grouped_scale(x: Tensor, factors: Tensor, numbers: tuple[int, ...]) -> Tensor:
    """Return the rows times their slot's factors; arguments as in `inlay.ops.grouped`."""
    return torch.stack([row * factors[slot] for row, slot in zip(x, numbers, strict=True)])


def ties(tensors: list[Tensor], weights: tuple[float, ...], density: float) -> Tensor:
    """Merge as TIES is written, one entry after the other; arguments as in `ops.blending`."""
    columns = []
    for tensor in tensors:
        values = tensor.flatten().tolist()
        kept = sorted(values, key=abs, reverse=True)[: max(1, round(density * len(values)))]
        columns.append([value if abs(value) >= abs(kept[-1]) else 0.0 for value in values])
    merged = []
    for entries in zip(*columns, strict=True):
        weighted = [w * entry for w, entry in zip(weights, entries, strict=True)]
        mass = sum(weighted)
        agreeing = [(v, abs(w)) for v, w in zip(weighted, weights, strict=True) if v * mass > 0]
        share = sum(weight for _, weight in agreeing)
        merged.append(sum(value for value, _ in agreeing) / share if share else 0.0)
    return torch.tensor(merged, dtype=tensors[0].dtype).view(tensors[0].shape)
