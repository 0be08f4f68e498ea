"""Compute once what all copies of a repeated batch share.

`Parallel` repeats the batch at the model's own inputs. Below the first adapter the copies are the
same rows, so only the first one is computed there, module by module: the lowest blocks, and in the
block behind them what stands in front of the first adapter (`sites/lead_in.py`). A module's
arguments are cut to the first copy, and what it returns is repeated, so that all that a model does
in between (masks, positions, reshaping from stage to stage) sees every copy.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inlay.sites.batch import has_cache
from inlay.sites.replay import Trunk
from inlay.sites.tensors import first_float_argument

_OUTPUTS_OF_BLOCKS = ("output_hidden_states", "output_attentions", "output_router_logits")
"""Arguments with which a caller sees what single blocks give."""


@final
class Fork:
    """One forward pass in which the lowest blocks run on one copy of the batch.

    It watches modules through hooks, which other threads' passes go through unchanged.

    Args:
        model: The base.
        trunks: Its blocks below the first adapter.
        copies: How often the batch is there.
    """

    def __init__(self, model: nn.Module, trunks: Sequence[Trunk], copies: int) -> None:
        self.handles: list[RemovableHandle] = []
        for trunk in trunks:
            branch = _Branch(copies)
            lead_in = [path for one in trunk.lead_in for path in one.outermost]
            for path in (*trunk.blocks, *lead_in):
                module = model.get_submodule(path)
                cut = _Cut(branch, is_block=path in trunk.blocks)
                self.handles += [
                    module.register_forward_pre_hook(cut, with_kwargs=True),
                    # Before adapters act, which do so on all copies.
                    module.register_forward_hook(_Grow(branch), prepend=True),
                ]

    def remove(self) -> None:
        """Take the hooks out."""
        for handle in self.handles:
            handle.remove()


def can_fork(model: nn.Module, kwargs: Mapping[str, Any]) -> bool:
    """Tell whether nobody sees what single blocks give, and copies do not differ by dropout.

    Blocks are run a second time (activation checkpointing) in training mode only.

    Args:
        model: The base.
        kwargs: Named arguments of the forward pass.
    """
    is_computed = shows_blocks(model, kwargs) or model.training or torch.compiler.is_compiling()
    return not is_computed


def shows_blocks(model: nn.Module, kwargs: Mapping[str, Any]) -> bool:
    """Tell whether the caller of a forward pass sees what single blocks give.

    Args:
        model: The base.
        kwargs: Named arguments of the pass.
    """
    config = getattr(model, "config", None)
    return any(kwargs.get(name, getattr(config, name, False)) for name in _OUTPUTS_OF_BLOCKS)


@final
class _Branch:
    """A pass through one trunk: which module runs on one copy, and what is known of tensors."""

    def __init__(self, copies: int) -> None:
        self.copies = copies
        self.thread = threading.get_ident()
        self.hidden: Tensor | None = None
        """What all copies gave the module that runs on one of them now."""
        self.is_shared = False
        """Whether the last block ran on one copy."""
        self.known: dict[int, _Known] = {}
        """Identity of a tensor of all copies -> its part."""
        self.given: dict[int, Tensor] = {}
        """Identity of what that module was given -> what it would have been given."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is the pass of another thread, through the same modules."""
        return self.thread != threading.get_ident()

    def begin(self, hidden: Tensor) -> bool:
        """Go on with one copy, if a hidden state is copies of one thing; tell whether it is."""
        if not hidden.ndim or len(hidden) % self.copies or self.part_of(hidden) is hidden:
            return False
        self.hidden = hidden
        return True

    def cut(self, value: Any) -> Any:
        """Return the first copy's part of an argument."""
        if isinstance(value, Tensor):
            rows = 0 if self.hidden is None else len(self.hidden)
            is_rows = rows and value.ndim and len(value) and len(value) % rows == 0
            part = self.part_of(value) if is_rows else value
            self.given[id(part)] = value
            return part
        if isinstance(value, tuple | list):
            return _with_items(value, map(self.cut, value))
        return value

    def part_of(self, whole: Tensor) -> Tensor:
        """Return a tensor's first copy, if it is copies of one thing; else itself."""
        known = self.known.get(id(whole))
        if known is None or known.version != _version(whole):
            size = len(whole) // self.copies
            part = whole[:size] if is_repeated(whole, size) else whole
            known = self.known[id(whole)] = _Known(whole, part, _version(whole))
        return known.part

    def end(self, output: Any) -> Any:
        """Go on with all copies; return what a module gave to each."""
        hidden, self.hidden = self.hidden, None
        if hidden is None:
            return output
        # Nothing as large as the hidden state is held until the end.
        self.known = {
            key: own for key, own in self.known.items()
            if own.whole.shape[:-1] != hidden.shape[:-1]
        }  # fmt: skip
        grown = self._grown(output, len(hidden) // self.copies)
        self.given = {}
        return grown

    def _grown(self, value: Any, rows: int) -> Any:
        """Repeat each tensor of rows, or of several entries for each, as of heads."""
        if isinstance(value, tuple | list):
            return _with_items(value, (self._grown(item, rows) for item in value))
        if not isinstance(value, Tensor):
            return value
        if id(value) in self.given:
            return self.given[id(value)]
        if not value.ndim or not len(value) or len(value) % rows:
            return value
        whole = value.repeat(self.copies, *[1] * (value.ndim - 1))
        if not whole.is_inference():  # of these, none tells whether it was changed since
            self.known[id(whole)] = _Known(whole, value, _version(whole))
        return whole


@final
@dataclass(frozen=True, slots=True)
class _Known:
    """A tensor, kept so that its identity stays its own, and the first copy in it."""

    whole: Tensor
    part: Tensor
    version: int | None


def _version(value: Tensor) -> int | None:
    """Return a number that grows when a tensor is changed in place."""
    return None if value.is_inference() else value._version


def _with_items(value: Any, items: Iterable[Any]) -> Any:
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def is_repeated(value: Tensor, size: int) -> bool:
    """Tell whether a tensor is its first `size` entries again and again."""
    return all(
        torch.equal(value[:size], value[start : start + size])
        for start in range(size, len(value), size)
    )


@final
class _Cut:
    """Gives a module the first copy of rows that are the same in all copies."""

    def __init__(self, branch: _Branch, *, is_block: bool) -> None:
        self.branch, self.is_block = branch, is_block

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the arguments, cut."""
        branch = self.branch
        if branch.is_elsewhere:
            return None
        hidden = first_float_argument(args, kwargs)
        is_asked = self.is_block or branch.is_shared
        is_cut = (
            is_asked and hidden is not None and not has_cache(args, kwargs) and branch.begin(hidden)
        )
        if self.is_block:
            branch.is_shared = is_cut
        if not is_cut:
            return None
        return branch.cut(args), {name: branch.cut(value) for name, value in kwargs.items()}


@final
class _Grow:
    """Repeats what such a module gives."""

    def __init__(self, branch: _Branch) -> None:
        self.branch = branch

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Return the output of all copies."""
        branch = self.branch
        return None if branch.is_elsewhere else branch.end(output)
