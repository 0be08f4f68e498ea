"""Optimisers and learning-rate schedules by the names the field uses."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def build_optimizer(
    name: str, parameters: Iterable[nn.Parameter], *, learning_rate: float, weight_decay: float
) -> Optimizer:
    """Build an optimiser; weight decay spares biases, norms and scales.

    Args:
        name: `adamw`, `adam`, `sgd`, `adagrad` or `adafactor`.
        parameters: What is trained.
        learning_rate: The peak, which the schedule multiplies.
        weight_decay: For the weights with two or more dimensions.
    """
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # An adapter is many small tensors: one kernel for each, not one for each term of the update.
    fused = all(_can_be_fused(parameter) for parameter in parameters)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, fused=fused)
    if name == "adam":
        return torch.optim.Adam(groups, lr=learning_rate, fused=fused)
    if name == "sgd":
        # Not fused: it fails where some have no gradient at the first step.
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9)
    if name == "adagrad":
        return torch.optim.Adagrad(groups, lr=learning_rate)
    return torch.optim.Adafactor(groups, lr=learning_rate)


def _can_be_fused(parameter: nn.Parameter) -> bool:
    is_plain = parameter.is_floating_point() and parameter.is_contiguous()
    return is_plain and parameter.device.type in ("cpu", "cuda")


def build_schedule(optimizer: Optimizer, name: str, *, warmup: float, num_steps: int) -> LambdaLR:
    """Build a schedule: a linear warm-up, then linear, cosine or no decay to zero.

    Args:
        optimizer: Whose learning rate is scheduled.
        name: `linear`, `cosine` or `constant`.
        warmup: A fraction of the steps if below 1, else a number of steps.
        num_steps: Steps of the whole training.
    """
    num_warmup = warmup_steps(warmup, num_steps)

    def factor(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / (num_warmup + 1)
        done = (step - num_warmup) / max(1, num_steps - num_warmup)
        if name == "linear":
            return max(0.0, 1.0 - done)
        if name == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return 1.0

    return LambdaLR(optimizer, factor)


def warmup_steps(warmup: float, num_steps: int) -> int:
    """Return the steps of a warm-up that is given as in `build_schedule`."""
    return round(warmup * num_steps) if warmup < 1 else round(warmup)
