"""Move all words some positions further back, as if something stood in front of them."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inlay.errors import SiteError
from inlay.sites.attention import relative_bias
from inlay.sites.example import example_inputs
from inlay.sites.sitemap import SiteMap
from inlay.sites.tensors import first_float


class ShiftSource(Protocol):
    """What says by how much."""

    def shift(self) -> int:
        """Return by how many positions the words of this pass stand further back."""


def position_stack(sites: SiteMap, model: nn.Module) -> str:
    """Find the module around all blocks that is told the words' positions.

    Raises:
        SiteError: If there is none.
    """
    refusal = "takes_positions=True: words cannot be moved to other positions, because"
    if len(sites.submodels()) > 1:
        raise SiteError(f"{refusal} this model has several stacks of blocks.")
    blocks = [site.module for site in sites if site.kind == "block"]
    found: list[str] = [
        path
        for path, module in model.named_modules()
        if all(path == "" or block.startswith(f"{path}.") for block in blocks)
        and "position_ids" in inspect.signature(module.forward).parameters
    ]
    if not found:
        raise SiteError(f"{refusal} no module around its blocks takes position_ids.")
    return sorted(found, key=len)[-1]


def weighs_by_distance(attentions: Iterable[str], model: nn.Module) -> bool:
    """Tell whether these attentions know no positions but distances, which they are told."""
    return all(relative_bias(model, path) is not None for path in attentions)


def check_positions(sites: SiteMap, model: nn.Module) -> None:
    """Check by a forward pass that a model numbers its words from 0 if it is told nothing.

    Raises:
        SiteError: If it does not, so that a moved word's number is not known.
    """
    stack = model.get_submodule(position_stack(sites, model))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    inputs = example_inputs(model)
    handles: list[RemovableHandle] = []
    try:
        with torch.no_grad():
            told_nothing = first_float(model(**inputs))
            handles.append(_hooked(stack, _Shift(_Told(), stack)))
            told = first_float(model(**inputs))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    if told_nothing is None or told is None or not torch.allclose(told_nothing, told, atol=1e-5):
        raise SiteError(
            f"takes_positions=True: {type(model).__name__} does not number its words 0, 1, 2, so "
            "it is not known where they would stand."
        )


@final
class _Told:
    """Leaves every word where it is, but says so."""

    def shift(self) -> int:
        """Return no shift."""
        return 0


def shift_positions(stack: nn.Module, source: ShiftSource) -> RemovableHandle:
    """Hook a stack so that its words stand further back while the source says so."""
    return _hooked(stack, _Shift(source, stack))


def _hooked(stack: nn.Module, hook: "_Shift") -> RemovableHandle:
    return stack.register_forward_pre_hook(hook, with_kwargs=True)


@final
class _Shift:
    """Tells a stack its words' positions."""

    def __init__(self, source: ShiftSource, stack: nn.Module) -> None:
        self.source = source
        self.names = list(inspect.signature(stack.forward).parameters)
        self.always = isinstance(source, _Told)

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        shift = self.source.shift()
        if not shift and not self.always:
            return None
        given = dict(zip(self.names, args, strict=False)) | kwargs
        positions = given.get("position_ids")
        given["position_ids"] = (self._own(given) if positions is None else positions) + shift
        return (), given

    def _own(self, given: Mapping[str, Any]) -> Tensor:
        """Number the words behind those of the cache."""
        words = given.get("input_ids")
        words = given["inputs_embeds"] if words is None else words
        seen = getattr(given.get("past_key_values"), "get_seq_length", None)
        start = int(seen()) if callable(seen) else 0
        numbers = torch.arange(start, start + words.shape[1], device=words.device)
        return numbers.expand(words.shape[0], -1)
