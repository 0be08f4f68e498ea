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
    rows = _only_tensor(config, tensors, adapters)
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
        notes=("the words stand behind the prefix, as in PEFT",)
        + (("block i of the decoder has entry 2 i of the list, as in PEFT",) if step == 2 else ()),
    )


def read_prompt(config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters) -> Parts:
    """Place the vectors of prompt tuning or P-tuning in front of a model's words.

    In PEFT the model returns their positions too. Before a pair of encoder and decoder they stand
    in front of the encoder's words, and the other half of what PEFT saves then does nothing.

    Raises:
        FormatError: If an option has an effect we lack, or the file and the model do not fit.
    """
    vectors = _only_tensor(config, tensors, adapters)
    length, width = config.whole("num_virtual_tokens"), config.whole("token_dim")
    stacks = config.whole("num_transformer_submodules", 1)
    # P-tuning's network gives as many as it has inputs, which are counted in the same way.
    _check_shape(config, vectors, (length * stacks, width))
    return _prompt(config, vectors[:length], adapters, stacks)


def read_multitask(config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters) -> Parts:
    """Place the prompt of multitask prompt tuning (Wang et al. 2023, arXiv:2303.02861).

    A task's prompt is the shared one times `cols @ rows` of the task, element by element; of a
    file for one task that is a plain prompt.

    Raises:
        FormatError: If the file is for several tasks, an option has an effect we lack, or the file
            and the model do not fit.
    """
    factors = ("prefix_task_cols", "prefix_task_rows")
    plain = {key: tensor for key, tensor in tensors.items() if key not in factors}
    shared = _only_tensor(config, plain, adapters, more=("num_ranks", "num_tasks"))
    tasks, ranks = config.whole("num_tasks", 1), config.whole("num_ranks", 1)
    if tasks != 1:
        why = "each task has a prompt of its own, and an adapter has one; train with one task."
        raise config.refuse("num_tasks", why)
    if config.whole("num_transformer_submodules", 1) != 1:
        why = "prompts before encoder and decoder at once are not followed; use a prefix."
        raise config.refuse("num_transformer_submodules", why)
    length, width = config.whole("num_virtual_tokens"), config.whole("token_dim")
    _check_shape(config, shared, (length, width))
    parts = []
    for key, shape in zip(factors, ((1, length, ranks), (1, ranks, width)), strict=True):
        if key not in tensors or tuple(tensors[key].shape) != shape:
            found = list(tensors[key].shape) if key in tensors else "missing"
            raise FormatError(
                f"{config.path.parent}: tensor {key!r} is {found}; {list(shape)} is expected."
            )
        parts.append(tensors[key][0])
    return _prompt(config, shared * (parts[0] @ parts[1]), adapters, 1)


def _prompt(config: PeftConfig, vectors: Tensor, adapters: Adapters, stacks: int) -> Parts:
    site = _embedding(config, adapters)
    is_pair = len(adapters.sites.submodels()) > 1
    if is_pair != (stacks > 1):
        why = f"this model has {len(adapters.sites.submodels())} stacks of blocks."
        raise config.refuse("num_transformer_submodules", why)
    notes = ["what the model returns has the prompt's positions too, as in PEFT"]
    if is_pair:
        notes = ["the decoder sees the prompt's positions of the encoder, as in PEFT"]
    return Parts(
        method=Prompt(length=len(vectors), returned=True),
        sites=[site.name],
        tensors={f"site/{site.name}/vectors": (_KEY, vectors)},
        notes=tuple(notes),
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
    step = len(adapters.sites.submodels())
    entries = _entries([torch.cat(pair, dim=1).detach() for pair in pairs], step, entry.name)
    rows = torch.cat(entries, dim=1)
    options = {"prefix_projection": False, "encoder_hidden_size": widths.pop()}
    options |= _sizes(adapters, rows.shape[0], options["encoder_hidden_size"], len(pairs))
    return options, {_KEY: rows}


def _entries(own: list[Tensor], step: int, name: str) -> list[Tensor]:
    """Return PEFT's list of keys and values, from which block i takes number `step * i`.

    Raises:
        FormatError: If two blocks take the same number and have different rows.
    """
    entries: dict[int, tuple[int, Tensor]] = {}
    for block, rows in enumerate(own):
        number = step * block % len(own)
        first, there = entries.setdefault(number, (block, rows))
        if not torch.equal(rows, there):
            raise FormatError(
                f"adapter {name!r}: for this pair of encoder and decoder PEFT gives blocks {first} "
                f"and {block} the same rows, and theirs differ, so it has no form for them."
            )
    none = torch.zeros_like(own[0])
    return [entries.get(number, (0, none))[1] for number in range(len(own))]


def write_prompt(
    adapters: Adapters, entry: Entry, *, uniform: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the options and the tensor of a prompt as PEFT writes them."""
    is_pair = len(adapters.sites.submodels()) > 1
    can_write = getattr(adapters.model, "can_generate", lambda: False)() and not is_pair
    if not (isinstance(entry.method, Prompt) and (entry.method.returned or can_write)):
        raise FormatError(
            f"adapter {entry.name!r}: in PEFT the model returns the prompt's positions too, which "
            "is another answer than this one's here; train with Prompt(returned=True)."
        )
    (layer,) = entry.layers.values()
    if not isinstance(layer, AbstractPromptLayer):
        raise FormatError(f"adapter {entry.name!r} has no vectors in front of the words.")
    vectors = layer().detach()
    layers = len(_attentions(adapters))
    sizes = _sizes(adapters, vectors.shape[0], vectors.shape[1], layers)
    # Of a pair PEFT keeps a second half, for the decoder, which it never uses.
    unused = [torch.zeros_like(vectors)] * (len(adapters.sites.submodels()) - 1)
    return {"prompt_tuning_init": "RANDOM", **sizes}, {_KEY: torch.cat([vectors, *unused])}


def _sizes(adapters: Adapters, length: int, width: int, layers: int) -> dict[str, Any]:
    settings: Any = getattr(adapters.model, "config", None)
    text: Any = getattr(settings, "get_text_config", lambda: settings)()
    heads = getattr(text, "num_key_value_heads", None) or getattr(text, "num_attention_heads", 1)
    return {
        "num_virtual_tokens": length, "token_dim": width, "num_layers": layers,
        "num_attention_heads": heads,
        "num_transformer_submodules": len(adapters.sites.submodels()),
    }  # fmt: skip


def _only_tensor(
    config: PeftConfig,
    tensors: Mapping[str, Tensor],
    adapters: Adapters,
    more: tuple[str, ...] = (),
) -> Tensor:
    """Check the options and return the one tensor of the file.

    Args:
        config: The options.
        tensors: All tensors.
        adapters: For messages.
        more: Options of the method beside those that all have.
    """
    folder = config.path.parent
    config.check_options((*_FOLLOWED, *more))
    if config.whole("num_transformer_submodules", 1) > 2:
        raise config.refuse("num_transformer_submodules", "a model has one stack or a pair.")
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


def _embedding(config: PeftConfig, adapters: Adapters) -> Site:
    """Return where words enter: of a pair, where the encoder's do."""
    found = [site for site in adapters.sites if site.kind == "embedding"]
    first = adapters.sites.submodels()[0]
    own = [site for site in found if site.submodel == first]
    if len(own) != 1:
        raise FormatError(f"{config.path.parent}: this model has {len(own)} places for words.")
    return own[0]
