"""The base's own weights: those a comparator copies, and the gradient flags of all."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import nn

from inlay.errors import AdapterError
from inlay.methods.base import AbstractWeightMethod
from inlay.sites.sitemap import SiteMap


def base_parameters(
    model: nn.Module, adapters: nn.Module, own_heads: Sequence[str]
) -> dict[str, nn.Parameter]:
    """Return the base's own parameters by path, without adapters and the model's own heads."""
    own = {id(p) for p in adapters.parameters()}
    heads = tuple(f"{path}." for path in own_heads)
    return {
        path: parameter
        for path, parameter in model.named_parameters(remove_duplicate=False)
        if id(parameter) not in own and not path.startswith(heads)
    }


def copy_weights(
    method: AbstractWeightMethod,
    parameters: Mapping[str, nn.Parameter],
    sites: SiteMap,
    model: nn.Module,
) -> dict[str, nn.Parameter]:
    """Copy the base weights that a comparator trains.

    Args:
        method: The comparator.
        parameters: The base's parameters by path, heads left out.
        sites: The model's sites; say which modules are blocks and what is behind them.
        model: The base.

    Returns:
        Path -> a new parameter with equal values, in at least float32.

    Raises:
        AdapterError: If the base has nothing of what the method trains.
    """
    chosen: list[str] = []
    for submodel in sites.submodels():
        num_blocks = sites.num_blocks(submodel)
        first = method.first_block(num_blocks)
        if first is None:
            chosen = list(parameters)
            break
        modules = [
            site.module
            for site in sites
            if site.submodel == submodel
            and (
                (site.kind == "block" and site.block is not None and site.block >= first)
                or (site.kind == "output" and first < num_blocks)
            )
        ]
        chosen += [p for p in parameters if any(p.startswith(f"{m}.") for m in modules)]
    in_reach = len(chosen)
    chosen = [path for path in chosen if _takes(method, path, model)]
    if in_reach and not chosen:
        raise AdapterError(
            f"method {method.name!r} trains {method.takes_what}, and this base has none; take "
            "another method, such as lora or bottleneck."
        )
    copies: dict[str, nn.Parameter] = {}
    seen: dict[int, nn.Parameter] = {}
    for path in dict.fromkeys(chosen):
        original = parameters[path]
        if not original.is_floating_point():
            continue
        dtype = torch.promote_types(original.dtype, torch.float32)
        copy = seen.get(id(original))
        if copy is None:
            copy = nn.Parameter(original.detach().to(dtype, copy=True))
            seen[id(original)] = copy
            copies[path] = copy
    return copies


def _takes(method: AbstractWeightMethod, path: str, model: nn.Module) -> bool:
    owner, _, name = path.rpartition(".")
    return method.takes(model.get_submodule(owner), name)


@final
class GradientFlags:
    """Freezes a model for the training of adapters, and gives its flags back.

    Args:
        model: The base with its adapters.
        adapters: The adapters, whose parameters are not the base's.
    """

    def __init__(self, model: nn.Module, adapters: nn.Module) -> None:
        self._modules = [model, adapters]  # in a list, so that they are no submodules here
        self._base: dict[str, bool] = {}

    def freeze(self) -> None:
        """Let no parameter learn; the base's flags are remembered the first time."""
        model, adapters = self._modules
        parameters = dict(model.named_parameters())
        own = {id(p) for p in adapters.parameters()}
        base = {path: p for path, p in parameters.items() if id(p) not in own}
        if not self._base:
            self._base = {path: p.requires_grad for path, p in base.items()}
        for parameter in parameters.values():
            parameter.requires_grad_(False)

    def thaw(self) -> None:
        """Give the base its own flags back."""
        if self._base:
            parameters = dict(self._modules[0].named_parameters())
            for path, flag in self._base.items():
                parameters[path].requires_grad_(flag)
        self._base = {}
