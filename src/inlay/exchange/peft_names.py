"""Which tensor of a PEFT file belongs to which site or head: by the path of its module."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch import Tensor, nn

from inlay.adapters.bank import Adapters
from inlay.errors import AdapterError, FormatError
from inlay.exchange.peft_config import PeftConfig
from inlay.methods.base import AbstractSiteMethod
from inlay.sites.sitemap import Site

OF_MODULES = "base_model.model."
"""What stands before a module's path in files of methods that act inside the base."""

OF_PROMPTS = "base_model."
"""The same in files of methods that act on the base's inputs or cache."""

TASK_HEADS = {"classifier", "score", "qa_outputs"}
"""Heads that PEFT lists for every task class of a kind, whether the model has them or not."""

_NOT_HERE = {
    ".lora_embedding_A": "the LoRA of an embedding",
    ".lora_embedding_B": "the LoRA of an embedding",
    ".lora_B.bias": "a LoRA with a bias",
    ".lora_magnitude_vector": "DoRA",
    ".trainable_tokens_delta": "trained rows of an embedding",
}
"""The end of a tensor's name -> what it is part of."""

Named = dict[str, tuple[str, Tensor]]
"""Our name of a tensor -> its name in the file, and the tensor."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a file holds, in our terms."""

    method: AbstractSiteMethod
    sites: list[str]
    """Where it acts."""
    tensors: Named
    """What is trained there."""


@final
class Names:
    """Paths of a model's modules as a PEFT file writes them.

    A file may come from a task class and the model be its bare base, or the other way round: then
    all paths differ by the prefix that transformers gives the base.

    Args:
        folder: For messages.
        model: The model that is loaded on.
        paths: Paths of modules in the file.
    """

    def __init__(self, folder: Path, model: nn.Module, paths: list[str]) -> None:
        self.folder, self.model = folder, model
        own = [path for path, _ in model.named_modules() if path.split(".")[0] != "adapters"]
        prefix: str = str(getattr(model, "base_model_prefix", ""))
        self._ours: dict[str, str] = {path: path for path in own}
        if prefix and not all(path in self._ours for path in paths):
            is_bare = getattr(model, "base_model", None) is model
            if is_bare:
                other = {f"{prefix}.{path}": path for path in own}
            else:
                start = f"{prefix}."
                other = {p.removeprefix(start): p for p in own if p.startswith(start)}
            if any(path in other for path in paths):
                self._ours = other

    @property
    def paths(self) -> list[str]:
        """Every module's path, as the file writes it."""
        return list(self._ours)

    def module(self, key: str, path: str) -> str:
        """Return a module's path on this model.

        Raises:
            FormatError: If there is none.
        """
        if path not in self._ours:
            raise FormatError(
                f"{self.folder}: tensor {key!r} is for a module that {type(self.model).__name__} "
                f"does not have. Load the base that the adapter was trained on."
            )
        return self._ours[path]


def linear_sites(adapters: Adapters) -> dict[str, Site]:
    """Return the linear maps of a model by their modules' paths."""
    return {site.module: site for site in adapters.sites if site.is_linear}


def targets_for(paths: list[str], model: nn.Module) -> list[str] | str:
    """Return `target_modules` that names these modules and no others.

    PEFT takes a name for the end of a path too; where that would fit other modules, the result is
    a regular expression.
    """
    own = [path for path, _ in model.named_modules() if path.split(".")[0] != "adapters"]
    ends = tuple(f".{path}" for path in paths)
    if any(path.endswith(ends) and path not in paths for path in own):
        return "|".join(re.escape(path) for path in sorted(paths))
    return sorted(paths)


def split_heads(
    config: PeftConfig,
    tensors: Mapping[str, Tensor],
    adapters: Adapters,
    prefix: str,
    *,
    without_head: bool,
) -> tuple[dict[str, Tensor], Named]:
    """Set the tensors of heads (`modules_to_save`) apart.

    Returns:
        The other tensors, and those of the heads by our names.

    Raises:
        FormatError: If a saved module is none of the model's own heads, or lacks tensors.
    """
    folder = config.path.parent
    saved = config.words("modules_to_save")
    rest: dict[str, Tensor] = {}
    heads: Named = {}
    skipped: set[str] = set()
    for key, tensor in tensors.items():
        path = key.removeprefix(prefix)
        owner = _owner(path, saved)
        if owner is None or not key.startswith(prefix):
            rest[key] = tensor
        elif without_head:
            skipped.add(owner)
        else:
            head = _owner(path, adapters.own_heads)
            if head is None:
                raise FormatError(_no_head(folder, key, owner, adapters))
            heads[f"own_head/{head}/{path.removeprefix(f'{head}.')}"] = (key, tensor)
    present = {_owner(key.split("/", 1)[1].replace("/", "."), saved) for key in heads} | skipped
    modules = [path for path, _ in adapters.model.named_modules()]
    for name in saved:
        there = [path for path in modules if path == name or path.endswith(f".{name}")]
        if name in present or without_head or (name in TASK_HEADS and not there):
            continue
        what = "the file has no tensor of it" if there else "this model has no such module"
        raise config.refuse("modules_to_save", f"{name!r} was saved, but {what}.")
    return rest, heads


def _owner(path: str, names: tuple[str, ...]) -> str | None:
    """Return which of these modules a tensor belongs to."""
    parents = path.split(".")[:-1]
    for name in names:
        parts = name.split(".")
        if any(parents[i : i + len(parts)] == parts for i in range(len(parents))):
            return name
    return None


def _no_head(folder: Path, key: str, owner: str, adapters: Adapters) -> str:
    model = adapters.model
    if any(path == owner or path.endswith(f".{owner}") for path, _ in model.named_modules()):
        return (
            f"{folder}: tensor {key!r} would overwrite {owner!r}, a part of the base, which stays "
            "as it is. Only heads of a task class can come with an adapter."
        )
    has = ", ".join(map(repr, adapters.own_heads)) or "no head"
    return (
        f"{folder}: the file has a head {owner!r}, but {type(model).__name__} has {has}. Load it "
        "on the task class it was trained on, or pass without_head=True."
    )


def not_used(folder: Path, key: str, adapters: Adapters) -> FormatError:
    """Return the error for a tensor that has no place."""
    path = key.removeprefix(OF_MODULES)
    own = dict(adapters.model.named_parameters())
    plain = path.replace(".base_layer.", ".")
    known = [what for end, what in _NOT_HERE.items() if key.endswith(end)]
    if known:
        why = f"belongs to {known[0]}, which Inlay does not have"
    elif {path, plain, key.removeprefix(OF_PROMPTS)} & own.keys():
        why = "would overwrite a weight of the base, which stays as it is"
    else:
        why = "has no place: the configuration does not cover it"
    return FormatError(f"{folder}: tensor {key!r} {why}; nothing was loaded.")


def copy_into(folder: Path, own: Mapping[str, Tensor], named: Named, name: str) -> None:
    """Copy a file's tensors into a new adapter, if they are exactly what it needs.

    Raises:
        FormatError: If one is missing, has no place, or another shape.
        AdapterError: If the adapter has nothing at a site, which is a fault of ours.
    """
    heads = {key.split("/")[1] for key in named if key.startswith("own_head/")}
    for key in own:
        kind, _, rest = key.partition("/")
        if key not in named and (kind != "own_head" or rest.split("/")[0] in heads):
            raise FormatError(f"{folder}: no tensor of the file gives {key!r} of {name!r}.")
    for key, (theirs, tensor) in named.items():
        if key not in own:
            raise AdapterError(f"{folder}: tensor {theirs!r} has no place in adapter {name!r}.")
        if tensor.shape != own[key].shape:
            raise FormatError(
                f"{folder}: tensor {theirs!r} is {' x '.join(map(str, tensor.shape))}, but this "
                f"model needs {' x '.join(map(str, own[key].shape))}."
            )
    for key, (_, tensor) in named.items():
        own[key].copy_(tensor)
