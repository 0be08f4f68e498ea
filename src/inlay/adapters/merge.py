"""Merge an adapter into the base's linear maps, keeping the original weights to put back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch
from torch import nn

from inlay.adapters.entry import Entry
from inlay.compose.nodes import Composition
from inlay.errors import AdapterError
from inlay.methods.base import AbstractMergeableLayer, AbstractSiteMethod
from inlay.sites.maps import base_map, is_in_fewer_bits, sharers
from inlay.sites.sitemap import SiteMap


@final
class Merged:
    """The adapter that is merged into a model, if one is.

    Args:
        model: The base.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = [model]
        self._kept: list[tuple[nn.Parameter, torch.Tensor]] = []
        self.name: str | None = None

    def check(self, entry: Entry, active: Composition, sites: SiteMap) -> None:
        """Refuse an adapter that has no place in the weights, or not now.

        Raises:
            AdapterError: If the method cannot merge, a weight is shared with another module,
                something else is active, or an adapter is merged already.
        """
        if not (isinstance(entry.method, AbstractSiteMethod) and entry.method.can_merge()):
            gated = " with a gate" if getattr(entry.method, "gate", False) else ""
            raise AdapterError(
                f"{entry.name!r} is of method {entry.method.name!r}{gated}, which cannot be merged "
                "into the base's weights; only changes of linear maps (lora, ia3, vera) can."
            )
        if entry.weights:
            raise AdapterError(
                f"{entry.name!r} has copies of base weights beside its update, for example of "
                f"{next(iter(entry.weights))!r}, which exchange weights and add nothing to merge."
            )
        if entry.stack_on is not None:
            raise AdapterError(
                f"{entry.name!r} is stacked on {entry.stack_on!r}, and only one adapter can be "
                "merged into the base's weights."
            )
        if active is not None and active != entry.name:
            raise AdapterError(
                f"{active!r} is active; call use({entry.name!r}) or use(None) first."
            )
        if self.name is not None:
            raise AdapterError(f"{self.name!r} is merged already; call unmerge() first.")
        self._check_alone(entry, sites)

    def _check_alone(self, entry: Entry, sites: SiteMap) -> None:
        """Refuse to change a weight through one module that another one uses as well.

        Raises:
            AdapterError: With both modules.
        """
        model = self._model[0]
        for name, layer in entry.layers.items():
            path = sites[name].module
            module = model.get_submodule(path)
            if (
                not isinstance(layer, AbstractMergeableLayer)
                or base_map(sites[name], model) is None
            ):
                raise AdapterError(f"site {name!r}: {type(layer).__name__} cannot be merged.")
            others = sharers(model, module.get_parameter("weight"), module)
            if others:
                raise AdapterError(
                    f"{entry.name!r} cannot be merged: {path!r} shares its weight with "
                    f"{', '.join(map(repr, others))}, which would change too. Run the adapter "
                    "unmerged, or give the modules weights of their own."
                )

    def merge(self, entry: Entry, sites: SiteMap) -> None:
        """Add the entry's updates to the base's weights, computed in at least float32.

        Raises:
            AdapterError: If a weight is stored in fewer bits, or a layer cannot be merged.
        """
        modules = dict(self._model[0].named_modules())
        weights = {
            name: modules[sites[name].module].get_parameter("weight") for name in entry.layers
        }
        if any(is_in_fewer_bits(weight) for weight in weights.values()):
            raise AdapterError(
                f"{entry.name!r} cannot be merged: the base's weights are stored in int8. Load the "
                "base without it."
            )
        for name, layer in entry.layers.items():
            module, found = modules[sites[name].module], base_map(sites[name], self._model[0])
            weight = weights[name]
            if not isinstance(layer, AbstractMergeableLayer) or found is None:
                raise AdapterError(f"site {name!r}: {type(layer).__name__} cannot be merged.")
            update = found.in_place(layer.weight_update())
            factors, bias = layer.bias_factors(), getattr(module, "bias", None)
            self._exchange(weight, weight.detach().to(update.dtype) + update.detach())
            if factors is not None and bias is not None:
                self._exchange(bias, bias.detach().to(factors.dtype) * factors.detach())
        self.name = entry.name

    def _exchange(self, parameter: nn.Parameter, merged: torch.Tensor) -> None:
        self._kept.append((parameter, parameter.data))
        parameter.data = merged.to(parameter.dtype)

    @contextmanager
    def originals(self) -> Iterator[None]:
        """Put the kept tensors back for the length of a `with` block."""
        merged = [weight.data for weight, _ in self._kept]
        for weight, original in self._kept:
            weight.data = original
        try:
            yield
        finally:
            for (weight, _), data in zip(self._kept, merged, strict=True):
                weight.data = data

    def current(self) -> str | None:
        """Return the name of the merged adapter, or `None`."""
        return self.name

    def unmerge(self) -> None:
        """Put the kept tensors back."""
        for weight, original in self._kept:
            weight.data = original
        self._kept, self.name = [], None
