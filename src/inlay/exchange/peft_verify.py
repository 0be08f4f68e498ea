"""Read a PEFT folder back and compare: with the adapter it was made from, and with vLLM's rules."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig, read_config
from inlay.exchange.peft_names import split_heads
from inlay.exchange.peft_reading import READERS
from inlay.exchange.peft_tensors import read_tensors
from inlay.methods.base import (
    AbstractAttentionLayer,
    AbstractLayer,
    AbstractMethod,
    AbstractPromptLayer,
)
from inlay.methods.lora import LoRA
from inlay.methods.lora_layer import LoRALayer
from inlay.ops.low_rank import low_rank_weight

_FACTORS = (".lora_A.weight", ".lora_B.weight")


def check_same(folder: Path, adapters: Adapters, entry: Entry, *, without_head: bool) -> None:
    """Check that a folder holds what an adapter computes.

    Raises:
        FormatError: If it does not.
    """
    config, tensors = read_config(folder), read_tensors(folder)
    reader, prefix = READERS[config.kind]
    rest, heads = split_heads(config, tensors, adapters, prefix, without_head=without_head)
    parts = reader(config, rest, adapters)
    read = {key: tensor for key, (_, tensor) in {**parts.tensors, **heads}.items()}
    own = {key: tensor.detach().cpu() for key, tensor in entry.tensors().items()}
    if set(parts.sites) != set(entry.layers):
        raise FormatError(f"{folder}: the file that was written has other places than the adapter.")
    for site, layer in entry.layers.items():
        start = f"site/{site}/"
        there = {k.removeprefix(start): v for k, v in read.items() if k.startswith(start)}
        if not _agree(layer, there, parts.method):
            raise FormatError(f"{folder}: what was written for {site!r} computes something else.")
    for key in heads:
        if not torch.equal(own[key], read[key]):
            raise FormatError(f"{folder}: what was written for {key!r} is something else.")


def _agree(layer: AbstractLayer, there: Mapping[str, Tensor], method: AbstractMethod) -> bool:
    if isinstance(layer, LoRALayer) and isinstance(method, LoRA):
        update = layer.weight_update().detach().cpu()
        written = low_rank_weight(there["a"], there["b"], method.alpha / method.rank)
        size = float(update.abs().max())
        return torch.allclose(update, written.to(update.dtype), rtol=0, atol=size * 1e-5)
    if isinstance(layer, AbstractPromptLayer):
        return torch.equal(layer().detach().cpu(), there["vectors"])
    if isinstance(layer, AbstractAttentionLayer):
        return torch.equal(torch.cat(layer(), dim=1).detach().cpu(), there["rows.rows"])
    own = layer.state_dict()
    return own.keys() == there.keys() and all(
        torch.equal(own[key].detach().cpu(), value) for key, value in there.items()
    )


def check_vllm(folder: Path) -> None:
    """Check a folder against what vLLM loads.

    It has one rank and one scale for all modules, takes no tensors but the factors of linear
    maps, and knows neither heads nor DoRA.

    Raises:
        FormatError: With what prevents that it is loaded.
    """
    config, tensors = read_config(folder), read_tensors(folder)
    for option in ("r", "lora_alpha", "target_modules"):
        if not config.values.get(option):
            raise config.refuse(option, "vLLM needs it.")
    for option in ("modules_to_save", "use_dora", "rank_pattern", "alpha_pattern", "use_rslora"):
        if config.values.get(option):
            raise config.refuse(option, "vLLM does not follow it.")
    if config.values.get("bias", "none") != "none":
        raise config.refuse("bias", "vLLM does not follow it.")
    for key, tensor in sorted(tensors.items()):
        if not key.endswith(_FACTORS):
            raise FormatError(f"{folder}: tensor {key!r} is none that vLLM loads.")
        if tensor.shape[0 if key.endswith(_FACTORS[0]) else 1] != config.whole("r"):
            raise FormatError(f"{folder}: tensor {key!r} has another rank than r says.")
    _check_targets(config)


def _check_targets(config: PeftConfig) -> None:
    if not isinstance(config.values["target_modules"], list):
        raise config.refuse("target_modules", "vLLM takes a list of modules.")
