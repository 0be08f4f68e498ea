"""Move all words some positions further back, as if something stood in front of them."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inlay.errors import SiteError
from inlay.sites.attention import relative_bias
from inlay.sites.example import example_inputs
from inlay.sites.sitemap import SiteMap
from inlay.sites.tensors import first_float

_REFUSAL = "takes_positions=True: words cannot be moved to other positions, because"


class ShiftSource(Protocol):
    """What says by how much."""

    def shift(self, words: Tensor) -> int | Tensor:
        """Return by how many positions the words of this pass stand further back.

        Args:
            words: The words or their vectors, `(batch, positions, ...)`.

        Returns:
            One number for all rows, or `(batch, 1)`.
        """

    def inserted(self) -> int:
        """Return how many vectors a cache that was filled in this way holds beside the words."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Numbering:
    """How a base numbers words if it is told nothing."""

    stack: str
    """Path of the module that is told the numbers."""
    start: int = 0
    """The first word's number."""
    skips_padding: bool = False
    """Whether only words count, so that padding on the left moves nothing."""
    padding: int | None = None
    """The number of all padding, wherever the words stand; `None` if it is numbered like words."""
    by_row: bool = True
    """Whether rows may have different numbers."""

    def numbers(self, given: Mapping[str, Any], inserted: int = 0) -> Tensor:
        """Return the numbers of a call's words, `(batch, positions)`.

        Args:
            given: The arguments of the stack.
            inserted: How many positions of its cache are no words.
        """
        words = _words(given)
        seen = getattr(given.get("past_key_values"), "get_seq_length", None)
        past, length = int(seen()) if callable(seen) else 0, words.shape[1]
        first = max(past - inserted, 0)
        mask = given.get("attention_mask")
        if self.skips_padding and mask is not None:
            if mask.ndim != 2:
                raise SiteError(f"{_REFUSAL} the attention mask is not (batch, positions).")
            counted: Tensor = (mask.long().cumsum(1) - 1).clamp_min(0)
            return counted[:, -length:] + self.start
        numbers = torch.arange(first, first + length, device=words.device)
        return numbers.expand(words.shape[0], -1) + self.start


def _words(given: Mapping[str, Any]) -> Tensor:
    """Return the words or their vectors among a stack's arguments."""
    ids: Tensor | None = given.get("input_ids")
    return given["inputs_embeds"] if ids is None else ids


def weighs_by_distance(attentions: Iterable[str], model: nn.Module) -> bool:
    """Tell whether these attentions know no positions but distances, which they are told."""
    return all(relative_bias(model, path) is not None for path in attentions)


def find_numbering(sites: SiteMap, model: nn.Module) -> Numbering:
    """Find how a model numbers words: by forward passes on words with padding on the left.

    Raises:
        SiteError: If the numbers cannot be told, or are others than can be.
    """
    if len(sites.submodels()) > 1:
        return _of_pair(sites, model)
    path = _stack(sites, model)
    stack = model.get_submodule(path)
    inputs = example_inputs(model)
    mask = torch.ones_like(inputs["input_ids"])
    mask[0, :1] = mask[1, :3] = 0  # two lengths, so that no first number is like a padding's
    inputs = {**inputs, "attention_mask": mask}
    padding = getattr(getattr(model, "config", None), "pad_token_id", None)
    if isinstance(padding, int):
        inputs["input_ids"] = inputs["input_ids"].masked_fill(mask == 0, padding)
    starts = [0, *([padding + 1] if isinstance(padding, int) else [])]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            wanted = _states(model, stack, inputs)
            for found in _ways(path, starts):
                handle = _hooked(stack, _Shift(found, None))
                try:
                    told = _states(model, stack, inputs)
                except (IndexError, RuntimeError):  # a number beyond the table
                    continue
                finally:
                    handle.remove()
                # Padding counts where it is a way of its own to number it.
                seen = torch.ones_like(mask) if found.padding is not None else mask
                if torch.allclose(wanted[seen > 0], told[seen > 0], rtol=1e-4, atol=1e-5):
                    return found
    finally:
        for module, training in modes:
            module.training = training
    raise SiteError(f"{_REFUSAL} it is not known how {type(model).__name__} numbers them.")


def _ways(path: str, starts: list[int]) -> Iterator[Numbering]:
    """Give the ways to number that are tried, those that say most first."""
    for start in starts:
        yield Numbering(stack=path, start=start)
        yield Numbering(stack=path, start=start, skips_padding=True, padding=start - 1)
        yield Numbering(stack=path, start=start, skips_padding=True)


def _of_pair(sites: SiteMap, model: nn.Module) -> Numbering:
    """Find the module beside a decoder's blocks that is told the words' numbers at every call.

    Raises:
        SiteError: If there is none.
    """
    last = sites.submodels()[-1]
    blocks = [s.module for s in sites if s.kind == "block" and s.submodel == last]
    levels = zip(*(block.split(".")[:-1] for block in blocks), strict=False)
    stack = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, levels)]
    told: list[tuple[str, int]] = []

    def note(path: str, names: list[str]) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = dict(zip(names, args, strict=False)) | kwargs
            numbers = given.get("position_ids")
            told.append((path, numbers.ndim) if isinstance(numbers, Tensor) else ("", 0))

        return hook

    handles = []
    for path, module in model.named_modules():
        names = list(inspect.signature(module.forward).parameters)
        is_inside = any(f"{path}.".startswith(f"{block}.") for block in blocks)
        near = path.split(".")[: len(stack) - 1] == stack[:-1] and len(path.split(".")) >= len(
            stack
        )
        if near and not is_inside and "position_ids" in names:
            hook = module.register_forward_pre_hook(note(path, names), with_kwargs=True)
            handles.append(hook)
    try:
        with torch.no_grad():
            model(**example_inputs(model))
    finally:
        for handle in handles:
            handle.remove()
    if len(told) != 1 or not told[0][0]:
        raise SiteError(f"{_REFUSAL} it is not known how the stack {last!r} numbers them.")
    (path, dims), *_ = told
    return Numbering(stack=path, by_row=dims > 1)


def _states(model: nn.Module, stack: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """Return what a stack makes of the words, `(batch, positions, width)`."""
    seen: list[Tensor | None] = []
    handle = stack.register_forward_hook(lambda _, args, output: seen.append(first_float(output)))
    try:
        model(**inputs)
    finally:
        handle.remove()
    mask: Tensor = inputs["attention_mask"].bool()
    if len(seen) != 1 or seen[0] is None or seen[0].shape[:2] != mask.shape:
        raise SiteError(f"{_REFUSAL} {type(stack).__name__} gives no state for each word.")
    return seen[0]


def _stack(sites: SiteMap, model: nn.Module) -> str:
    """Find the module around all blocks that is told the words' positions."""
    blocks = [site.module for site in sites if site.kind == "block"]
    needed = {"position_ids", "attention_mask", "input_ids"}
    found: list[str] = [
        path
        for path, module in model.named_modules()
        if all(path == "" or block.startswith(f"{path}.") for block in blocks)
        and needed <= set(inspect.signature(module.forward).parameters)
    ]
    if not found:
        raise SiteError(f"{_REFUSAL} no module around its blocks takes position_ids.")
    return sorted(found, key=len)[-1]


def shift_positions(model: nn.Module, numbering: Numbering, source: ShiftSource) -> RemovableHandle:
    """Hook a stack so that its words stand further back while the source says so."""
    return _hooked(model.get_submodule(numbering.stack), _Shift(numbering, source))


def _hooked(stack: nn.Module, hook: "_Shift") -> RemovableHandle:
    return stack.register_forward_pre_hook(hook, with_kwargs=True)


@final
class _Shift:
    """Tells a stack its words' positions; without a source, where they are by themselves."""

    def __init__(self, numbering: Numbering, source: ShiftSource | None) -> None:
        self.numbering, self.source = numbering, source

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        names = inspect.signature(module.forward).parameters
        given = dict(zip(names, args, strict=False)) | kwargs
        shift: int | Tensor = 0
        if self.source is not None:
            shift = self.source.shift(_words(given))
            if isinstance(shift, int) and not shift and not self._hides_padding(given):
                return None
        positions = given.get("position_ids")
        if positions is None:
            positions = self.numbering.numbers(
                given, 0 if self.source is None else self.source.inserted()
            )
            number, mask = self.numbering.padding, given.get("attention_mask")
            if number is not None and mask is not None:
                is_padding = mask[:, -positions.shape[1] :] == 0
                positions = (positions + shift).masked_fill(is_padding, number)
                shift = 0
        given["position_ids"] = positions + shift
        return (), given

    def _hides_padding(self, given: Mapping[str, Any]) -> bool:
        """Tell whether the base tells padding by words that vectors are put in front of.

        They reach it as vectors, all of which it would number.
        """
        source, is_told = self.source, given.get("position_ids") is not None
        by_words = self.numbering.padding is not None and given.get("input_ids") is not None
        return by_words and not is_told and source is not None and source.inserted() > 0
