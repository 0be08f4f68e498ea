"""Make adapters from weights in memory, without building modules and drawing weights anew."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from inlay.adapters.entry import Entry
from inlay.errors import AdapterError
from inlay.sites.maps import BaseMap
from inlay.sites.sitemap import Site

_OWN = ("_parameters", "_buffers", "_modules", "training")
_Kind = tuple[torch.dtype, torch.device]


@final
class Mould:
    """What adapters of one method and placement have in common: everything but their weights.

    Copying the attributes of modules takes a small part of the time of building them.

    Args:
        entry: Such an adapter; nothing of it is kept.
        model: The base.
        sites: Where the adapter acts.
    """

    def __init__(self, entry: Entry, model: nn.Module, sites: Sequence[Site]) -> None:
        self._shapes = {key: tensor.shape for key, tensor in entry.tensors().items()}
        prefixes = {id(layer): f"site/{site}/" for site, layer in entry.layers.items()}
        self._root = _part_of(entry, "", prefixes)
        self._near = [
            _first_parameter(model.get_submodule(site.module)) or _first_parameter(model)
            for site in sites
        ]
        self._kinds = self._kinds_now()

    def fits(self) -> bool:
        """Tell whether the base is where it was, and in the same precision."""
        return self._kinds == self._kinds_now()

    def cast(self, name: str, tensors: Mapping[str, Tensor], *, training: bool) -> Entry:
        """Return an adapter with copies of these weights, which do not learn.

        Args:
            name: Its name.
            tensors: Its weights, as `Entry.tensors` names them.
            training: Whether its modules are in training mode.

        Raises:
            AdapterError: If these are not exactly the weights that it needs.
        """
        check_given(name, self._shapes, tensors)
        with torch.no_grad():
            entry = cast(Entry, self._root.made(tensors, training=training))
        entry.name = name
        return entry

    def _kinds_now(self) -> list[_Kind | None]:
        found = [near and near[0].get(near[1]) for near in self._near]
        return [None if tensor is None else (tensor.dtype, tensor.device) for tensor in found]


def can_be_cast(entry: Entry) -> bool:
    """Tell whether an adapter is its layers alone, and these know nothing of one another."""
    if entry.head is not None or entry.own_heads or entry.weights or entry.combiners:
        return False
    modules = list(entry.named_modules(remove_duplicate=False))
    tensors = [
        tensor
        for _, module in modules
        for tensor in (*module._parameters.values(), *module._buffers.values())
        if tensor is not None
    ]
    return (
        len({id(module) for _, module in modules}) == len(modules)
        and len({id(tensor) for tensor in tensors}) == len(tensors)
        and not any(module._non_persistent_buffers_set for _, module in modules)
        and all(_is_plain(v) for _, m in modules for k, v in vars(m).items() if k not in _OWN)
    )


def check_given(name: str, shapes: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not exactly those an adapter needs.

    Raises:
        AdapterError: If one is missing, has no place, or is of another shape or no floating-point
            tensor.
    """
    if problem := misfit(shapes, tensors):
        raise AdapterError(f"add({name!r}, tensors=...): {problem}")


def misfit(shapes: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> str | None:
    """Say why tensors are not exactly those of these names and shapes; `None` if they are."""
    fits = [
        (tensor := tensors.get(key)) is not None
        and tensor.shape == shape
        and tensor.is_floating_point()
        for key, shape in shapes.items()
    ]
    if all(fits) and len(tensors) == len(shapes):
        return None
    for key in sorted(shapes.keys() - tensors.keys()):
        return f"tensor {key!r}, which this model needs, is not there."
    for key in sorted(tensors.keys() - shapes.keys()):
        return f"tensor {key!r} has no place on this model."
    key = sorted(key for key, fit in zip(shapes, fits, strict=True) if not fit)[0]
    found, needed = (" x ".join(map(str, shape)) for shape in (tensors[key].shape, shapes[key]))
    kind = "" if tensors[key].is_floating_point() else f" of {tensors[key].dtype}"
    return f"tensor {key!r} is {found}{kind}, but this model needs {needed} floating-point numbers."


@final
@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """A module without its tensors."""

    kind: type[nn.Module]
    plain: dict[str, Any]
    fresh: tuple[tuple[str, Callable[[], Any]], ...]
    """Attributes that each module has its own copy of."""
    tensors: tuple[tuple[str, str, str, torch.dtype, torch.device], ...]
    """Table, name there, name among the adapter's tensors, and what they are stored in."""
    children: tuple[tuple[str, "_Part"], ...]

    def made(self, given: Mapping[str, Tensor], *, training: bool) -> nn.Module:
        """Return a module around copies of tensors."""
        module = self.kind.__new__(self.kind)
        state = self.plain.copy()
        for name, copied in self.fresh:
            state[name] = copied()
        state["training"] = training
        for table, name, key, dtype, device in self.tensors:
            own = given[key].clone(memory_format=torch.contiguous_format)
            if own.dtype != dtype or own.device != device:
                own = own.to(device, dtype)
            is_buffer = table == "_buffers"
            state[table][name] = own if is_buffer else nn.Parameter(own, requires_grad=False)
        modules = state["_modules"]
        for name, child in self.children:
            modules[name] = child.made(given, training=training)
        module.__dict__.update(state)
        return module


def _part_of(module: nn.Module, prefix: str, prefixes: Mapping[int, str]) -> _Part:
    plain = dict(vars(module))
    tables: dict[str, dict[str, Any]] = {
        "_parameters": module._parameters, "_buffers": module._buffers
    }  # fmt: skip
    tensors = tuple(
        (table, name, prefix + name, tensor.dtype, tensor.device)
        for table, own in tables.items()
        for name, tensor in own.items()
        if tensor is not None
    )
    plain |= {table: dict.fromkeys(own) for table, own in tables.items()}
    plain["_modules"] = dict.fromkeys(module._modules)
    children = tuple(
        (name, _part_of(child, prefixes.get(id(child), f"{prefix}{name}."), prefixes))
        for name, child in module._modules.items()
        if child is not None
    )
    copied = {name: value for name, value in plain.items() if isinstance(value, dict | list | set)}
    fresh = tuple((name, value.copy if value else type(value)) for name, value in copied.items())
    return _Part(type(module), plain, fresh, tensors, children)


def _first_parameter(module: nn.Module) -> tuple[dict[str, Any], str] | None:
    """Return the table of a module's first parameter, and its name there."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                return part._parameters, name
    return None


def _is_plain(value: object) -> bool:
    """Tell whether modules may share a value: one with no module or tensor of an adapter in it."""
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_plain, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return all(_is_plain(getattr(value, field.name)) for field in dataclasses.fields(value))
    of_base = getattr(value, "__self__", value)  # a map of the base, or a method of one
    return value is None or isinstance(of_base, str | int | float | BaseMap)
