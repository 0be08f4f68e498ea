"""Find the residual additions in a block's window: which tensor is `r + s * x`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from inlay.sites.listen import Event, Window

_ROUNDING = 16
"""How many units of rounding error an explained tensor may be off, at each element."""

_SMALLEST_SHARE = 1e-3
"""An `s` below this is a coincidence of rounding, not a residual scale."""


@final
@dataclass(slots=True)
class Value:
    """A tensor of the stream's shape, with every event at which it was seen."""

    data: Tensor
    events: list[Event] = field(default_factory=list)

    @property
    def order(self) -> int:
        """When the value was first seen."""
        return self.events[0].order

    def outputs(self, before: int) -> list[Event]:
        """Return the events at which a module gave this value, earlier than `before`."""
        return [e for e in self.events if e.point == "out" and e.order < before]


@final
@dataclass(slots=True)
class Norm:
    """A module that returned its input normalised."""

    module: str
    source: Value
    result: Value


@final
@dataclass(slots=True)
class Addition:
    """`total = stream + scale * update`, with a second update where the base sums two at once."""

    total: Value
    stream: Value
    update: Value
    scale: float


@final
@dataclass(slots=True)
class Explanation:
    """What was understood of one window."""

    window: Window
    shape: torch.Size
    additions: list[Addition]
    norms: list[Norm]
    is_complete: bool
    """Whether the block's output is a sum that was found, or the norm of one."""


def explain(window: Window, is_norm: Callable[[Event, Event], bool]) -> Explanation | None:
    """Explain a block's output as its input plus the outputs of modules.

    Args:
        window: The events of one call of the block.
        is_norm: Tells whether the module of an (in, out) pair of events normalises.

    Returns:
        `None` if the block saw no floating-point tensor. All arithmetic is in float64.
    """
    if not window.events:
        return None
    shape = window.events[0].tensor.shape
    values = _values(window.events, shape)
    stream, additions, norms = [values[0]], [], _norms(window.events, values, is_norm)
    norm_of = {id(norm.result): norm for norm in norms}
    for total in values[1:]:
        norm = norm_of.get(id(total))
        if norm is not None:
            if any(norm.source is point for point in stream):
                stream.append(total)
            continue
        found = _single(total, stream, values)
        if found is not None:
            additions.append(found)
            stream.append(total)
    last = _value_of(window.events[-1], values)
    if last is not None and not any(last is point for point in stream):
        pair = _pair(last, stream, values)
        additions += pair
        stream += [last] if pair else []
    complete = bool(additions) and any(last is point for point in stream)
    return Explanation(window, shape, additions, norms, complete)


def _values(events: list[Event], shape: torch.Size) -> list[Value]:
    """Group the events that have the stream's shape, up to a view, by equal tensors."""
    values: list[Value] = []
    for event in events:
        tensor = event.value.detach()
        if tensor.numel() != shape.numel() or tensor.shape[-1] != shape[-1]:
            continue
        data = tensor.reshape(shape).double()
        for value in values:
            if torch.equal(value.data, data):
                value.events.append(event)
                break
        else:
            values.append(Value(data, [event]))
    return values


def _value_of(event: Event, values: list[Value]) -> Value | None:
    return next((value for value in values if event in value.events), None)


def _norms(
    events: list[Event], values: list[Value], is_norm: Callable[[Event, Event], bool]
) -> list[Norm]:
    """List the modules that took one value and gave its normalised form."""
    found = []
    for before, after in pairwise(events):
        # A leaf's two events are neighbours, for nothing happens in between.
        if (before.point, after.point) != ("in", "out") or before.module != after.module:
            continue
        source, result = _value_of(before, values), _value_of(after, values)
        if source is None or result is None or source is result:
            continue
        if is_norm(before, after):
            found.append(Norm(before.module, source, result))
    return found


def _rounding(*terms: Tensor, like: torch.dtype) -> Tensor:
    eps = torch.finfo(like).eps
    size = torch.stack([term.abs() for term in terms]).sum(0)
    return _ROUNDING * eps * (size + size.mean() * 1e-2)


def _single(total: Value, stream: list[Value], values: list[Value]) -> Addition | None:
    """Solve `total = r + s * x` for the latest `r` and `x` that fit."""
    updates = [v for v in values if v is not total and v.outputs(before=total.order)]
    for r in reversed(stream):
        rest = total.data - r.data
        for x in sorted(updates, key=lambda v: v.outputs(total.order)[-1].order, reverse=True):
            if x is r:
                continue
            scale = float((rest * x.data).sum() / (x.data * x.data).sum().clamp_min(1e-300))
            if _fits(total, r, [(scale, x)]):
                return Addition(total, r, x, _tidy(scale))
    return None


def _pair(total: Value, stream: list[Value], values: list[Value]) -> list[Addition]:
    """Solve `total = r + s1 * x1 + s2 * x2`: two sublayers in parallel."""
    updates = [v for v in values if v is not total and v.outputs(before=total.order)]
    for r in reversed(stream):
        rest = (total.data - r.data).flatten()
        for i, one in enumerate(updates):
            for two in updates[i + 1 :]:
                if r is one or r is two:
                    continue
                basis = torch.stack([one.data.flatten(), two.data.flatten()], dim=1)
                scales = torch.linalg.lstsq(basis, rest.unsqueeze(1)).solution.flatten().tolist()
                terms = list(zip(scales, (one, two), strict=True))
                if _fits(total, r, terms):
                    return [Addition(total, r, x, _tidy(scale)) for scale, x in terms]
    return []


def _fits(total: Value, r: Value, terms: list[tuple[float, Value]]) -> bool:
    """Accept a solution whose error is at rounding level at every element."""
    if any(abs(scale) < _SMALLEST_SHARE for scale, _ in terms):
        return False
    scaled = [scale * x.data for scale, x in terms]
    allowed = _rounding(total.data, r.data, *scaled, like=total.events[0].tensor.dtype)
    if any((part.abs() <= allowed).all() for part in scaled):
        return False  # an update too small to be seen proves nothing
    error = total.data - r.data - torch.stack(scaled).sum(0)
    return bool((error.abs() <= allowed).all())


def _tidy(scale: float) -> float:
    """Round away the noise of the fit: 0.30000001 is 0.3."""
    rounded = round(scale, 2)
    return rounded if abs(scale - rounded) < 1e-3 * abs(scale) else float(f"{scale:.4g}")
