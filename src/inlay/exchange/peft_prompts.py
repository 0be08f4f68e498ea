"""Prefix tuning, prompt tuning and P-tuning in PEFT's files: one tensor, `prompt_embeddings`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig
from inlay.exchange.peft_names import Parts, not_used
from inlay.methods.base import AbstractAttentionLayer, AbstractPromptLayer
from inlay.methods.prefix import Prefix
from inlay.methods.prompt import Prompt
from inlay.sites.sitemap import Site

_KEY = "prompt_embeddings"

_FOLLOWED = (
    "encoder_dropout",  # of what gave the vectors in training; the file holds what it gave
    "encoder_hidden_size",
    "encoder_num_layers",
    "encoder_reparameterization_type",
    "init_weights",
    "modules_to_save",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "num_virtual_tokens",
    "prefix_projection",
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "token_dim",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
)


def read_prefix(config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters) -> Parts:
    """Place a prefix at the attentions of a model, in the order of its blocks.

    PEFT puts it in the key-value cache, so the words stand behind it.

    Raises:
        FormatError: If an option has an effect we lack, or the file and the model do not fit.
    """
    rows = _only_tensor(config, tensors, adapters, most=2)
    sites = _attentions(adapters)
    # For a pair of encoder and decoder PEFT lays its list out twice and hands two entries of it to
    # each block, one of which it throws away: block i has entry 2 i, counted round the list.
    step = config.whole("num_transformer_submodules", 1)
    length, width = config.whole("num_virtual_tokens"), config.whole("token_dim")
    layers = config.whole("num_layers")
    if layers != len(sites):
        raise config.refuse("num_layers", f"this model has {len(sites)} attentions.")
    _check_shape(config, rows, (length, 2 * layers * width))
    parts = torch.split(rows, width, dim=1)
    return Parts(
        method=Prefix(length=length, inner_width=None, takes_positions=True),
        sites=[site.name for site in sites],
        tensors={
            f"site/{site.name}/rows.rows": (_KEY, torch.cat(parts[2 * n : 2 * n + 2], dim=1))
            for n, site in ((step * i % layers, site) for i, site in enumerate(sites))
        },
    )


def read_prompt(config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters) -> Parts:
    """Place the vectors of prompt tuning or P-tuning in front of a model's words.

    In PEFT the model returns their positions too.

    Raises:
        FormatError: If an option has an effect we lack, or the file and the model do not fit.
    """
    vectors = _only_tensor(config, tensors, adapters)
    length, width = config.whole("num_virtual_tokens"), config.whole("token_dim")
    _check_shape(config, vectors, (length, width))
    (site,) = _embedding(config, adapters)
    return Parts(
        method=Prompt(length=length, returned=True),
        sites=[site.name],
        tensors={f"site/{site.name}/vectors": (_KEY, vectors)},
    )


def write_prefix(
    adapters: Adapters, entry: Entry, *, uniform: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the options and the tensor of a prefix as PEFT writes them."""
    if not (isinstance(entry.method, Prefix) and entry.method.takes_positions):
        raise FormatError(
            f"adapter {entry.name!r}: in PEFT the words stand behind the prefix, so it has no form "
            "for one that takes no positions; train with Prefix(takes_positions=True)."
        )
    if len(adapters.sites.submodels()) > 1:
        raise FormatError(
            f"adapter {entry.name!r}: PEFT's prefix for a pair of encoder and decoder gives some "
            "blocks the same rows, so it has no form for this one."
        )
    sites = [site.name for site in _attentions(adapters)]
    if sites != sorted(entry.layers, key=sites.index):
        raise FormatError(
            f"adapter {entry.name!r}: PEFT's prefix is at every attention, this one at "
            f"{len(entry.layers)} of {len(sites)}."
        )
    pairs = [x() for x in entry.layers.values() if isinstance(x, AbstractAttentionLayer)]
    widths = {part.shape[1] for pair in pairs for part in pair}
    if len(widths) != 1:
        raise FormatError(
            f"adapter {entry.name!r}: PEFT's prefix has one width for all keys and values, this "
            f"one has {', '.join(map(str, sorted(widths)))}."
        )
    rows = torch.cat([part for pair in pairs for part in pair], dim=1)
    options = {"prefix_projection": False, "encoder_hidden_size": widths.pop()}
    options |= _sizes(adapters, rows.shape[0], options["encoder_hidden_size"], len(pairs))
    return options, {_KEY: rows}


def write_prompt(
    adapters: Adapters, entry: Entry, *, uniform: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the options and the tensor of a prompt as PEFT writes them."""
    can_write = getattr(adapters.model, "can_generate", lambda: False)()
    if not (isinstance(entry.method, Prompt) and (entry.method.returned or can_write)):
        raise FormatError(
            f"adapter {entry.name!r}: in PEFT the model returns the prompt's positions too, which "
            "is another answer than this one's here; train with Prompt(returned=True)."
        )
    (layer,) = entry.layers.values()
    if not isinstance(layer, AbstractPromptLayer):
        raise FormatError(f"adapter {entry.name!r} has no vectors in front of the words.")
    vectors = layer()
    layers = len(_attentions(adapters))
    sizes = _sizes(adapters, vectors.shape[0], vectors.shape[1], layers)
    return {"prompt_tuning_init": "RANDOM", **sizes}, {_KEY: vectors}


def _sizes(adapters: Adapters, length: int, width: int, layers: int) -> dict[str, Any]:
    settings: Any = getattr(adapters.model, "config", None)
    text: Any = getattr(settings, "get_text_config", lambda: settings)()
    heads = getattr(text, "num_key_value_heads", None) or getattr(text, "num_attention_heads", 1)
    return {
        "num_virtual_tokens": length, "token_dim": width, "num_layers": layers,
        "num_attention_heads": heads, "num_transformer_submodules": 1,
    }  # fmt: skip


def _only_tensor(
    config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters, most: int = 1
) -> Tensor:
    """Check the options and return the one tensor of the file.

    Args:
        config: The options.
        tensors: All tensors.
        adapters: For messages.
        most: Stacks of blocks that are followed.
    """
    folder = config.path.parent
    config.check_options(_FOLLOWED)
    if config.whole("num_transformer_submodules", 1) > most:
        why = "a prompt before a pair of encoder and decoder is not followed; use a prefix."
        raise config.refuse("num_transformer_submodules", why)
    for key in sorted(tensors):
        if key != _KEY:
            raise not_used(folder, key, adapters)
    if _KEY not in tensors:
        raise FormatError(f"{folder}: tensor {_KEY!r} is missing; the file is incomplete.")
    return tensors[_KEY]


def _check_shape(config: PeftConfig, tensor: Tensor, wanted: tuple[int, int]) -> None:
    if tuple(tensor.shape) != wanted:
        raise FormatError(
            f"{config.path.parent}: tensor {_KEY!r} is {' x '.join(map(str, tensor.shape))}, but "
            f"{config.path.name} says {wanted[0]} x {wanted[1]}."
        )


def _attentions(adapters: Adapters) -> list[Site]:
    """Return the attentions that have a cache: those of the only or the last stack."""
    last = adapters.sites.submodels()[-1]
    return [site for site in adapters.sites if site.kind == "attention" and site.submodel == last]


def _embedding(config: PeftConfig, adapters: Adapters) -> list[Site]:
    found = [site for site in adapters.sites if site.kind == "embedding"]
    if len(found) != 1:
        raise FormatError(f"{config.path.parent}: this model has {len(found)} places for words.")
    return found
