"""Make the inputs of one forward pass from a Hugging Face model's config and signature."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from inlay.errors import SiteError

_BATCH = 2
_LENGTH = 7
_DECODER_LENGTH = 5
"""Unlike the encoder's length, so that the two streams cannot be taken for one another."""


def example_inputs(model: nn.Module) -> dict[str, Any]:
    """Make inputs that reach every submodel: token ids, pixels or sound, as the model takes them.

    Args:
        model: A model with a `config`, as Hugging Face models have.

    Raises:
        SiteError: If the model has no config, or takes none of the known inputs.
    """
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "get_text_config"):
        raise SiteError(
            f"{type(model).__name__} is no Hugging Face model, so its inputs are not known. "
            "Give one example: `inlay.attach(model, example={'x': tensor})` or a tuple of "
            "positional arguments."
        )
    parameters = inspect.signature(model.forward).parameters
    generator = torch.Generator().manual_seed(0)
    makers: dict[str, Callable[[Any, torch.Generator], Tensor | None]] = {
        "input_ids": _input_ids,
        "pixel_values": _pixel_values,
        "input_features": _input_features,
        "input_values": _input_values,
    }
    inputs: dict[str, Any] = {}
    for name, make in makers.items():
        value = make(config, generator) if name in parameters else None
        if value is not None:
            inputs[name] = value
    if not inputs:
        raise SiteError(
            f"{type(model).__name__}.forward takes {', '.join(parameters)}; none of "
            f"{', '.join(makers)} could be made from its config. Give one example: "
            "`inlay.attach(model, example={...})`."
        )
    if "decoder_input_ids" in parameters and config.is_encoder_decoder:
        inputs["decoder_input_ids"] = _ids(config, generator, _DECODER_LENGTH)
    if "use_cache" in parameters:
        inputs["use_cache"] = False
    first = next(model.parameters())
    return {name: _like(value, first) for name, value in inputs.items()}


def _like(value: Any, weight: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(weight.device, weight.dtype if value.is_floating_point() else None)


def _ids(config: Any, generator: torch.Generator, length: int) -> Tensor:
    """Draw token ids that are no special tokens, as far as the config tells."""
    text = config.get_text_config()
    special = {
        value
        for key, value in text.to_dict().items()
        if key.endswith("token_id") and isinstance(value, int)
    }
    usual = [i for i in range(min(text.vocab_size, 4096)) if i not in special]
    order = torch.randperm(len(usual), generator=generator)
    return torch.tensor(usual)[order.repeat(_BATCH)[: _BATCH * length]].view(_BATCH, length)


def _input_ids(config: Any, generator: torch.Generator) -> Tensor | None:
    if getattr(config.get_text_config(), "vocab_size", None) is None:
        return None
    return _ids(config, generator, _LENGTH)


def _pixel_values(config: Any, generator: torch.Generator) -> Tensor | None:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", None) or 64
    height, width = size if isinstance(size, list | tuple) else (size, size)
    channels = getattr(vision, "num_channels", 3)
    return torch.randn(_BATCH, channels, height, width, generator=generator)


def _input_features(config: Any, generator: torch.Generator) -> Tensor | None:
    bins = getattr(config, "num_mel_bins", None)
    if bins is None:
        return None
    length = 2 * getattr(config, "max_source_positions", 32)
    return torch.randn(_BATCH, bins, length, generator=generator)


def _input_values(config: Any, generator: torch.Generator) -> Tensor | None:
    strides = getattr(config, "conv_stride", None)
    if strides is None:
        return None
    # Long enough for a few frames behind the convolutions that shorten the sound.
    length = 400
    for stride in strides:
        length = max(length, 1) * stride
    return torch.randn(_BATCH, min(length, 6400), generator=generator)
