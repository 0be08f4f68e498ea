"""Which tensor of a PEFT file belongs to which site or head: by the path of its module."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch import Tensor, nn

from inlay.adapters.bank import Adapters
from inlay.errors import AdapterError, FormatError
from inlay.methods.base import AbstractMethod
from inlay.sites.maps import base_map
from inlay.sites.sitemap import Site

OF_MODULES = "base_model.model."
"""What stands before a module's path in files of methods that act inside the base."""

OF_PROMPTS = "base_model."
"""The same in files of methods that act on the base's inputs or cache."""

_NOT_HERE = {
    ".trainable_tokens_delta": "trained rows of an embedding",
}
"""The end of a tensor's name -> what it is part of."""

Named = dict[str, tuple[str, Tensor]]
"""Our name of a tensor -> its name in the file, and the tensor."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a file holds, in our terms."""

    method: AbstractMethod
    sites: list[str]
    """Where it acts; empty for a method that trains copies of the base's weights."""
    tensors: Named
    """What is trained there, and copies of base weights beside it."""
    notes: tuple[str, ...] = ()
    """Where the peer departs from the paper or from ours."""


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

    def find(self, path: str) -> str | None:
        """Return a module's path on this model, or `None` if there is none."""
        return self._ours.get(path)

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


def map_sites(adapters: Adapters, kinds: frozenset[str]) -> dict[str, Site]:
    """Return the maps of these kinds by their modules' paths; of one module the first site.

    A table's entries are its input's width here.
    """
    found: dict[str, Site] = {}
    for site in adapters.sites:
        if site.kind not in kinds:
            continue
        own = None if site.is_linear else base_map(site, adapters.model)
        if own is not None:
            found.setdefault(site.module, dataclasses.replace(site, in_width=own.in_width))
        elif site.is_linear:
            found.setdefault(site.module, site)
    return found


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


def ends_alike(paths: list[str], others: list[str]) -> list[str] | str:
    """Return names that fit these paths and none of the others, where a dot is no border."""
    if any(other.endswith(path) for path in paths for other in others if other not in paths):
        return "|".join(re.escape(path) for path in sorted(paths))
    return sorted(paths)


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
