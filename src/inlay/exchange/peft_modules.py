"""What a PEFT file holds for each map of a base: checked against its configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from inlay.adapters.bank import Adapters
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig
from inlay.exchange.peft_names import OF_MODULES, Names, map_sites, not_used
from inlay.site_kinds import LINEAR_KINDS
from inlay.sites.sitemap import Site


@final
@dataclass(frozen=True, slots=True)
class AtMap:
    """The tensors of a file for one linear map, table or convolution."""

    folder: str
    path: str
    """The module's path as the file writes it."""
    site: Site
    tensors: Mapping[str, Tensor]
    """The end of a tensor's name, such as `.lora_A.weight` -> the tensor."""

    def key(self, end: str) -> str:
        """Return a tensor's name in the file."""
        return f"{OF_MODULES}{self.path}{end}"

    def take(self, end: str, *shape: int) -> Tensor:
        """Return a tensor that must be there, in this shape.

        Raises:
            FormatError: If it is missing or of another shape.
        """
        found = self.tensors.get(end)
        if found is None:
            raise FormatError(
                f"{self.folder}: tensor {self.key(end)!r} is missing; the file is incomplete."
            )
        if tuple(found.shape) != shape:
            raise FormatError(
                f"{self.folder}: tensor {self.key(end)!r} is {' x '.join(map(str, found.shape))}, "
                f"but here it must be {' x '.join(map(str, shape))}."
            )
        return found


def at_maps(
    config: PeftConfig,
    tensors: Mapping[str, Tensor],
    adapters: Adapters,
    ends: Sequence[str],
    kinds: frozenset[str] = frozenset(LINEAR_KINDS),
) -> list[AtMap]:
    """Sort a file's tensors by the map that they are for, in the order of the sites.

    Args:
        config: What the file says of its targets.
        tensors: All of the file but heads and copies.
        adapters: The adapters of the model.
        ends: How the method's tensors are named behind a module's path.
        kinds: Kinds of site where the method can act.

    Raises:
        FormatError: If a tensor has no place, or a target has no tensors.
    """
    folder = config.path.parent
    by_path: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        end = next((end for end in ends if key.endswith(end)), None)
        if end is None or not key.startswith(OF_MODULES):
            raise not_used(folder, key, adapters)
        by_path.setdefault(key[len(OF_MODULES) : -len(end)], {})[end] = tensor
    names = Names(folder, adapters.model, list(by_path))
    targets, sites = targets_of(config, names), map_sites(adapters, kinds)
    found: dict[str, AtMap] = {}
    for path, own in by_path.items():
        key = f"{OF_MODULES}{path}{next(iter(own))}"
        module = names.module(key, path)
        if targets is not None and path not in targets:
            raise not_used(folder, key, adapters)
        if module not in sites:
            raise FormatError(
                f"{folder}: tensor {key!r} is for {module!r}, which is no linear map that was "
                "found on this model, nor another map where this method can act; `inlay sites` "
                "shows those there are."
            )
        found[sites[module].name] = AtMap(str(folder), path, sites[module], own)
    for path in sorted(targets or ()):
        if path not in by_path:
            raise FormatError(
                f"{folder}: target_modules names {path!r}, but tensor "
                f"{OF_MODULES + path + ends[0]!r} is missing; the file is incomplete."
            )
    if not found:
        raise FormatError(f"{folder}: there is no tensor of a {config.kind} in the file.")
    return [found[site.name] for site in adapters.sites if site.name in found]


def targets_of(config: PeftConfig, names: Names) -> set[str] | None:
    """Return the paths that the configuration names; `None` if it leaves that to the file."""
    wanted = config.values.get("target_modules")
    if wanted is None or wanted == "all-linear":
        return None
    saved = config.words("modules_to_save")
    return {
        path
        for path in names.paths
        if config.names_module("target_modules", path)
        and not config.names_module("exclude_modules", path)
        and not any(word in _parents(path) for word in saved)
        and (isinstance(wanted, str) or path in wanted or config.in_layers(path))
    }


def _parents(path: str) -> set[str]:
    """Return every run of parts of a path: `a.b` gives `a`, `b` and `a.b`."""
    parts = path.split(".")
    numbers = range(len(parts) + 1)
    return {".".join(parts[i:j]) for i in numbers for j in numbers if i < j}
