"""Load an adapter that Hugging Face PEFT saved, as strictly as one of our own."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from inlay.adapters.attach import adapters_of, attach
from inlay.adapters.bank import Adapters
from inlay.errors import ConfigError, FormatError, SiteError
from inlay.exchange.peft_config import PeftConfig, read_config
from inlay.exchange.peft_lora import read_lora
from inlay.exchange.peft_names import OF_MODULES, OF_PROMPTS, Parts, copy_into, split_heads
from inlay.exchange.peft_prompts import read_prefix, read_prompt
from inlay.exchange.peft_tensors import read_tensors

Reader = Callable[[PeftConfig, Mapping[str, Tensor], Adapters], Parts]

READERS: dict[str, tuple[Reader, str]] = {
    "LORA": (read_lora, OF_MODULES),
    "PREFIX_TUNING": (read_prefix, OF_PROMPTS),
    "PROMPT_TUNING": (read_prompt, OF_PROMPTS),
    "P_TUNING": (read_prompt, OF_PROMPTS),
}
"""PEFT's name of a method -> what reads it, and what stands before the paths of its heads."""


def load_peft(
    model: nn.Module, folder: str | Path, *, name: str | None = None, without_head: bool = False
) -> str:
    """Load a PEFT checkpoint onto a model; it is not made active.

    Modules are found by their paths, whatever the family. Every tensor of the file must be used,
    every module that the configuration names must be there, nothing touches the base, and an
    option whose effect we do not have is refused. If anything is wrong the model is left as it
    was. Unlike our own files, PEFT's hold no mark of their base, so only shapes can be checked.

    Args:
        model: The base; `attach` is called on it if it has no adapters yet.
        folder: What `PeftModel.save_pretrained` wrote.
        name: The adapter's name here; the folder's by default, as the file has none.
        without_head: Leave a saved head aside.

    Returns:
        The adapter's name on this model.

    Raises:
        FormatError: If the files are damaged, or do not fit the model or one another.
        AdapterError: If the name is taken.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config.kind not in READERS:
        known = ", ".join(sorted(READERS))
        raise config.refuse("peft_type", f"Inlay does not have this method; it reads {known}.")
    tensors = read_tensors(folder)
    name = folder.resolve().name if name is None else name
    fresh = not hasattr(model, "adapters")
    adapters = attach(model) if fresh else adapters_of(model)
    try:
        _add(config, tensors, adapters, name, without_head=without_head)
    except Exception:
        if fresh:
            adapters.close()
            del model.adapters
        raise
    return name


def _add(
    config: PeftConfig,
    tensors: Mapping[str, Tensor],
    adapters: Adapters,
    name: str,
    *,
    without_head: bool,
) -> None:
    reader, prefix = READERS[config.kind]
    rest, heads = split_heads(config, tensors, adapters, prefix, without_head=without_head)
    try:
        parts = reader(config, rest, adapters)
        entry = adapters.add(name, parts.method, at=parts.sites, copy_heads=bool(heads))
    except (ConfigError, SiteError) as error:
        raise FormatError(f"{config.path}: {error}") from error
    try:
        with torch.no_grad():
            copy_into(config.path.parent, entry.tensors(), {**parts.tensors, **heads}, name)
    except Exception:
        adapters.remove(name)
        raise
