"""Choose how the base is stored and computed on the machine at hand."""

from dataclasses import dataclass
from typing import final

import torch

from inlay.errors import ConfigError


@final
@dataclass(frozen=True, slots=True)
class Numerics:
    """The numbers a run computes with.

    Attributes:
        stored: What the base's weights are stored in: `float32` or `bfloat16`.
        autocast: Whether a step runs under autocast to bfloat16 (weights that are trained stay
            float32).
        attention: The attention implementation the base is loaded with.
        int8: Whether the linear maps of the blocks are stored in int8.
    """

    stored: str
    autocast: bool
    attention: str
    int8: bool = False

    @property
    def precision(self) -> str:
        """The precision in one word, for plans and files."""
        return "bfloat16" if self.autocast or self.stored == "bfloat16" else "float32"


def has_fast_bfloat16(device: torch.device) -> bool:
    """Tell whether the hardware multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False


def choose_numerics(precision: str, *, trains_base: bool, device: torch.device) -> Numerics:
    """Choose storage, autocast and attention.

    A frozen base is stored in bfloat16, as nothing is ever added to its weights; a base that is
    trained stays float32 and is computed under autocast. Attention on a CPU is the plain one:
    the backward pass of the fused one in bfloat16 is about twice as slow there.

    Args:
        precision: `auto`, `float32` or `bfloat16`.
        trains_base: Whether weights of the base are trained.
        device: Where training runs.

    Raises:
        ConfigError: If bfloat16 is asked for and the device cannot compute with it.
    """
    if precision == "bfloat16" and device.type == "mps":
        raise ConfigError("precision='bfloat16': this device has no bfloat16; use float32.")
    low = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))
    attention = "eager" if device.type == "cpu" and low else "sdpa"
    return Numerics(
        stored="bfloat16" if low and not trains_base else "float32",
        autocast=low and trains_base,
        attention=attention,
    )
