"""Tell padding from words in each stack that runs, and what a cache holds already."""

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inlay.errors import AdapterError
from inlay.sites.tensors import Index, entries


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What the arguments of a stack of blocks say about its sequence."""

    mask: Tensor | None = None
    """`(batch, seen)`, not zero where there is no padding; `None` if the call had none."""
    past: int = 0
    """Earlier positions that a key-value cache holds."""
    is_readable: bool = True
    """False if the mask has a form that does not show which positions are padding."""

    def rows(self, index: Index, leading: int) -> "Call":
        """Return the same for some entries of a first dimension.

        Args:
            index: Which entries.
            leading: The size of that dimension; a mask of another size is not about it.
        """
        if self.mask is None or len(self.mask) != leading:
            return self
        return dataclasses.replace(self, mask=entries(self.mask, index))

    def padding(self, x: Tensor) -> Tensor | None:
        """Return the mask of the positions of `x` if it is one for them, else `None`.

        Raises:
            AdapterError: If padding cannot be told.
        """
        seen = self.seen(x)
        return None if seen is None else seen[:, -x.shape[1] :]

    def seen(self, x: Tensor) -> Tensor | None:
        """Return the mask of the cached positions and those of `x`, `(batch, past + positions)`.

        Raises:
            AdapterError: If padding cannot be told.
        """
        if not self.is_readable:
            raise AdapterError(
                "the active adapter must know the padding, and attention_mask is not of the form "
                "(batch, positions); pass such a mask, or generate with a dynamic cache."
            )
        size = torch.Size((x.shape[0], self.past + x.shape[1]))
        if self.mask is not None and self.mask.shape == size:
            return self.mask
        return torch.ones(size, dtype=torch.long, device=x.device) if self.past else None


def watch_calls(
    model: nn.Module, blocks: Iterable[str], note: Callable[[Call], None]
) -> list[RemovableHandle]:
    """Note every call of the model and of the stacks inside it that take an attention mask.

    The innermost stack counts: an encoder and a decoder have a mask each, and `generate` runs an
    encoder by itself.

    Args:
        model: The whole model.
        blocks: Paths of its blocks; if there are none, nothing is watched.
        note: Is told of each call.
    """
    paths: set[str] = set()
    for block in blocks:
        parts = block.split(".")
        paths |= {".".join(parts[:depth]) for depth in range(len(parts))}
    handles = []
    for path, module in model.named_modules():
        if path not in paths:
            continue
        names = list(inspect.signature(module.forward).parameters)
        if path == "" or "attention_mask" in names:
            watch = _Watch(note, names, is_whole=path == "")
            handles.append(module.register_forward_pre_hook(watch, with_kwargs=True))
    return handles


@final
class _Watch:
    """Reads mask and cache from the arguments of one module."""

    def __init__(self, note: Callable[[Call], None], names: list[str], *, is_whole: bool) -> None:
        self.note, self.names, self.is_whole = note, names, is_whole

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = dict(zip(self.names, args, strict=False)) | kwargs
        mask, cache = given.get("attention_mask"), given.get("past_key_values")
        is_padding = isinstance(mask, Tensor) and mask.ndim == 2
        if not (mask is None or is_padding or self.is_whole):
            return  # made from the mask that was noted further out
        length = getattr(cache, "get_seq_length", None)
        past = int(length()) if callable(length) else 0
        self.note(
            Call(
                mask=mask if is_padding else None, past=past,
                is_readable=mask is None or is_padding,
            )
        )  # fmt: skip
