"""The part of PEFT's form that vLLM loads; the rules are those of vLLM 0.33.0 and of older ones.

vLLM reads a file's names only: of a module that it does not know it refuses the last word at most,
and serves the base alone where the words before that are others than its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_config import read_config
from inlay.exchange.peft_names import OF_MODULES
from inlay.exchange.peft_tensors import read_tensors
from inlay.methods.lora import LoRA

DEFAULT_MAX_RANK = 16
"""The largest rank that vLLM takes unless told otherwise."""

_MAX_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be."""

_FACTORS = (".lora_A.weight", ".lora_B.weight")

_NOT_SERVED = (
    "modules_to_save", "use_dora", "rank_pattern", "alpha_pattern", "use_rslora", "lora_bias",
    "trainable_token_indices", "target_parameters", "alora_invocation_tokens",
    "layer_replication", "use_bdlora", "use_qalora",
)  # fmt: skip
"""Options of PEFT that vLLM does not follow, or not in all of its versions."""

_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Values of `init_lora_weights`, besides true and false, that leave the base as it is."""


def check_can_serve(adapters: Adapters, entry: Entry, *, without_head: bool) -> None:
    """Refuse what vLLM does not load, before anything is written.

    Raises:
        FormatError: With what prevents it.
    """
    if not isinstance(entry.method, LoRA):
        raise FormatError(
            f"adapter {entry.name!r} is of method {entry.method.name!r}; vLLM loads lora only."
        )
    odd = [name for name in entry.layers if not adapters.sites[name].is_linear]
    if odd:
        raise FormatError(
            f"adapter {entry.name!r} has a LoRA at {odd[0]!r}, a table or a convolution; those of "
            "linear maps only are written for vLLM, which has none for convolutions, and for "
            "tables in some models only."
        )
    if entry.method.magnitude:
        raise FormatError(f"adapter {entry.name!r} is a DoRA, which vLLM does not load.")
    if entry.weights:
        raise FormatError(
            f"adapter {entry.name!r} has copies of base weights, for example of "
            f"{next(iter(entry.weights))!r}, which vLLM does not load."
        )
    if (entry.own_heads or entry.head is not None) and not without_head:
        heads = ", ".join(map(repr, entry.own_heads)) or "of a task"
        raise FormatError(
            f"adapter {entry.name!r} has a head ({heads}), which is not written for vLLM, as most "
            "of its versions and models load none. Leave it out: without_head=True in Python, "
            "--without-head on the command line."
        )


def with_served_names(
    model: nn.Module, adapters: Adapters, config: dict[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return options and tensors under the names that vLLM gives a model's modules.

    It serves a decoder in the class that writes text, whatever class the adapter is on here.
    """
    prefix = _prefix(model, adapters)
    if not prefix:
        return config, dict(tensors)
    named = {
        f"{OF_MODULES}{prefix}{key.removeprefix(OF_MODULES)}": tensor
        for key, tensor in tensors.items()
    }
    targets = config["target_modules"]
    if isinstance(targets, list):
        targets = [f"{prefix}{path}" for path in targets]
    about = {"task_type": "CAUSAL_LM", "auto_mapping": None}
    return {**config, **about, "target_modules": targets}, named


def _prefix(model: nn.Module, adapters: Adapters) -> str:
    """Return what stands before the paths of a bare decoder in the class that writes text."""
    is_bare = getattr(model, "base_model", None) is model
    kind = getattr(getattr(model, "config", None), "model_type", None)
    blocks = [site for site in adapters.sites if site.kind == "block"]
    is_decoder = len(adapters.sites.submodels()) == 1 and all(block.causal for block in blocks)
    prefix = str(getattr(model, "base_model_prefix", ""))
    writes = is_bare and is_decoder and kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return f"{prefix}." if prefix and writes else ""


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
    for option in _NOT_SERVED:
        if config.values.get(option):
            raise config.refuse(option, "vLLM does not follow it.")
    if config.values.get("bias", "none") != "none":
        raise config.refuse("bias", "vLLM does not follow it.")
    start = config.values.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _STARTS:
        raise config.refuse("init_lora_weights", "vLLM does not follow it.")
    if not isinstance(config.values["target_modules"], list):
        raise config.refuse("target_modules", "vLLM takes a list of modules.")
    if config.whole("r") > max(_MAX_RANKS):
        raise config.refuse("r", f"vLLM takes ranks up to {max(_MAX_RANKS)}.")
    for key, tensor in sorted(tensors.items()):
        if not key.endswith(_FACTORS) or not key.startswith(OF_MODULES) or tensor.ndim != 2:
            raise FormatError(f"{folder}: tensor {key!r} is none that vLLM loads.")
        other = _FACTORS[key.endswith(_FACTORS[0])]
        if f"{key[: -len(other)]}{other}" not in tensors:
            raise FormatError(f"{folder}: tensor {key!r} is there without its {other!r}.")
        if tensor.shape[0 if key.endswith(_FACTORS[0]) else 1] != config.whole("r"):
            raise FormatError(f"{folder}: tensor {key!r} has another rank than r says.")


def serving_notes(folder: Path) -> tuple[str, ...]:
    """Say what vLLM must be told to load a folder that `check_vllm` passes; mostly nothing."""
    rank = read_config(folder).whole("r")
    if rank <= DEFAULT_MAX_RANK:
        return ()
    least = next(most for most in _MAX_RANKS if most >= rank)
    return (
        f"rank {rank}: start vLLM with --max-lora-rank {least}; it takes ranks up to "
        f"{DEFAULT_MAX_RANK} unless told otherwise.",
    )
