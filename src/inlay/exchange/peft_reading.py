"""Load an adapter that Hugging Face PEFT saved, as strictly as one of our own."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from inlay.adapters.attach import adapters_of, attach
from inlay.adapters.bank import Adapters
from inlay.adapters.copies import add_copies
from inlay.adapters.entry import Entry
from inlay.errors import AdapterError, ConfigError, FormatError, SiteError
from inlay.exchange.peft_config import PeftConfig, read_config
from inlay.exchange.peft_ia3 import read_ia3
from inlay.exchange.peft_lora import read_lora
from inlay.exchange.peft_names import OF_MODULES, OF_PROMPTS, Named, Parts, copy_into
from inlay.exchange.peft_norms import read_norms
from inlay.exchange.peft_prompts import read_multitask, read_prefix, read_prompt
from inlay.exchange.peft_saved import check_own_biases, split_saved
from inlay.exchange.peft_tensors import read_tensors
from inlay.exchange.peft_vera import read_vera

Reader = Callable[[PeftConfig, Mapping[str, Tensor], Adapters], Parts]

READERS: dict[str, tuple[Reader, str]] = {
    "LORA": (read_lora, OF_MODULES),
    "VERA": (read_vera, OF_MODULES),
    "IA3": (read_ia3, OF_MODULES),
    "LN_TUNING": (read_norms, OF_MODULES),
    "PREFIX_TUNING": (read_prefix, OF_PROMPTS),
    "PROMPT_TUNING": (read_prompt, OF_PROMPTS),
    "P_TUNING": (read_prompt, OF_PROMPTS),
    "MULTITASK_PROMPT_TUNING": (read_multitask, OF_PROMPTS),
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
        add_from_peft(config, tensors, adapters, name, without_head=without_head)
    except Exception:
        if fresh:
            adapters.close()
            del model.adapters
        raise
    return name


def add_from_peft(
    config: PeftConfig,
    tensors: Mapping[str, Tensor],
    adapters: Adapters,
    name: str,
    *,
    without_head: bool,
) -> None:
    """Add the adapter of a file to a model; if anything is wrong nothing is added.

    Raises:
        FormatError: If the file does not fit the model or is no whole.
        AdapterError: If the name is taken.
    """
    reader, prefix = READERS[config.kind]
    try:
        with adapters.original_weights():
            saved = split_saved(config, tensors, adapters, prefix, without_head=without_head)
            parts = reader(config, saved.rest, adapters)
            check_own_biases(config, adapters, saved, parts.sites)
        has_heads = any(key.startswith("own_head/") for key in saved.named)
        at = parts.sites or None
        entry = adapters.add(name, parts.method, at=at, copy_heads=has_heads, fresh=False)
    except (ConfigError, SiteError) as error:
        raise FormatError(f"{config.path}: {error}") from error
    named = {**saved.named, **parts.tensors}
    try:
        _copy_weights(config, adapters, entry, named)
        with torch.no_grad():
            copy_into(config.path.parent, entry.tensors(), named, name)
    except Exception:
        adapters.remove(name)
        raise
    entry.imported = {
        "format": "peft",
        "config": dict(config.values),
        "notes": [*saved.notes, *parts.notes],
    }


def _copy_weights(config: PeftConfig, adapters: Adapters, entry: Entry, named: Named) -> None:
    """Give the adapter copies of the base weights that the file has beside its method's own."""
    paths = [key[7:] for key in named if key.startswith("weight/")]
    try:
        add_copies(adapters, entry, [path for path in paths if path not in entry.weights])
    except AdapterError as error:
        raise FormatError(f"{config.path.parent}: {error}") from error
