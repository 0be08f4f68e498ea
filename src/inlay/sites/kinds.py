"""Tell what a sublayer does, by behaviour: does it mix positions, and does it read elsewhere?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from inlay.sites.additions import Addition, Value
from inlay.sites.listen import Event

_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)


@final
@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a sublayer does."""

    kind: str
    """One of `RESIDUAL_KINDS`."""
    causal: bool | None
    """Whether it sees earlier positions only; `None` if it does not mix positions."""


def classify(
    addition: Addition,
    events: Sequence[Event],
    others: Sequence[Tensor],
    modules: dict[str, nn.Module],
) -> Behaviour:
    """Tell what the sublayer between an addition's stream and its update does.

    The derivative of the update at one position by the stream at the others says whether
    positions are mixed. A sublayer that does not mix the stream but depends on another input of
    the block is cross-attention; one that does neither is a feed-forward layer.

    Args:
        addition: The residual addition.
        events: What happened between stream and update, in order.
        others: The block's further floating-point arguments.
        modules: All modules of the model by path.
    """
    update = addition.update.outputs(addition.total.order)[-1].value
    probe, position = _at_middle(update, addition.stream)
    earlier, later = _reach(probe, position, addition.stream)
    if not (earlier or later):
        reads = _reads(probe, addition.stream, others)
        return Behaviour("cross_attention" if reads else "ffn", None)
    return Behaviour(_mixer_kind(events, modules), causal=earlier and not later)


def _mixer_kind(events: Sequence[Event], modules: dict[str, nn.Module]) -> str:
    """Tell attention, convolution and other mixers of positions apart by what they are made of."""
    # Descendants too: a fused kernel may read a convolution's weights without calling it.
    inside = [part for e in events if e.point == "out" for part in modules[e.module].modules()]
    names = [type(module).__name__ for module in inside]
    names += [event.module.rsplit(".", 1)[-1] for event in events]
    if any(_ATTENTION.search(name) for name in names):
        return "attention"
    if any(_is_convolution(module) for module in inside):
        return "mixer" if _has_state_space(inside) else "conv"
    maps = {id(module) for module in inside if isinstance(module, nn.Linear)}
    return "attention" if len(maps) >= 3 else "mixer"


def _at_middle(update: Tensor, stream: Value) -> tuple[Tensor, int]:
    """Return a number that depends on the update at the middle position, and that position."""
    flat = _positions(update, stream)
    middle = flat.shape[1] // 2
    # Weighted, so that no two channels can cancel out.
    weights = torch.linspace(0.5, 1.5, flat.shape[-1], dtype=flat.dtype, device=flat.device)
    return (flat[:, middle] * weights).sum(), middle


def _positions(tensor: Tensor, stream: Value) -> Tensor:
    """View a tensor of the stream's size as (batch, positions, rest)."""
    shape = stream.data.shape
    if len(shape) <= 3:
        return tensor.reshape(shape[0], -1, shape[-1])
    return tensor.reshape(shape[0], shape[1], -1).movedim(1, -1)


def _reach(probe: Tensor, position: int, stream: Value) -> tuple[bool, bool]:
    """Say whether the number depends on the stream at earlier and at later positions."""
    for event in stream.events:
        if not (event.tensor.requires_grad and probe.requires_grad):
            continue
        (slope,) = torch.autograd.grad(probe, event.tensor, retain_graph=True, allow_unused=True)
        if slope is not None:
            flat = _positions(slope, stream)
            earlier, later = flat[:, :position], flat[:, position + 1 :]
            return bool((earlier != 0).any()), bool((later != 0).any())
    return False, False


def _reads(probe: Tensor, stream: Value, others: Sequence[Tensor]) -> bool:
    """Say whether the update depends on another input by a way that is not the stream."""
    states = [tensor for tensor in others if tensor.ndim >= 3 and tensor.requires_grad]
    if not states or not probe.requires_grad:
        return False
    # Zeroed at the stream, the derivative that is left came by another way.
    tensors = [event.tensor for event in stream.events if event.tensor.requires_grad]
    dams = [t.register_hook(torch.zeros_like) for t in tensors]  # type: ignore[no-untyped-call]
    slopes = torch.autograd.grad(probe, states, retain_graph=True, allow_unused=True)
    for dam in dams:
        dam.remove()
    return any(slope is not None and bool(slope.abs().max() > 0) for slope in slopes)


def _is_convolution(module: nn.Module) -> bool:
    kernel = getattr(module, "kernel_size", 1)
    return any(size > 1 for size in (kernel if isinstance(kernel, tuple) else (kernel,)))


def _has_state_space(modules: Sequence[nn.Module]) -> bool:
    """Tell whether a module owns parameters besides those of its linear maps and convolutions."""
    return any(
        next(iter(module.children()), None) is not None
        and next(iter(module.parameters(recurse=False)), None) is not None
        for module in modules
    )
