"""Compute once what all copies of a repeated batch share, and repeat it where they part.

`Parallel` repeats the batch at the model's own inputs. Below the first adapter the copies are the
same rows, so there only the first copy is computed: a block's arguments are cut to it, and what
the last such block returns is repeated. In the block behind them the same is done for what stands
in front of the first adapter, module by module (`sites/lead_in.py`). Masks, positions and the head
stay those of all copies.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inlay.sites.batch import has_cache
from inlay.sites.replay import Trunk
from inlay.sites.tensors import first_float, first_float_argument

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
        self.copies = copies
        self.handles: list[RemovableHandle] = []
        for trunk in trunks:
            state = _Branch(copies)
            modules = [model.get_submodule(path) for path in trunk.blocks]
            for number, module in enumerate(modules):
                before = _Cut(state, is_first=number == 0)
                self.handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            self.handles.append(modules[-1].register_forward_hook(_Grow(state)))
            for path in (path for one in trunk.lead_in for path in one.outermost):
                module = model.get_submodule(path)
                cut, grow = _CutAlone(state), _GrowAlone(state)
                self.handles += [
                    module.register_forward_pre_hook(cut, with_kwargs=True),
                    # Before adapters act, which do so on all copies.
                    module.register_forward_hook(grow, prepend=True),
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
    """Where a pass through one trunk is: before it, on one copy, or behind it."""

    def __init__(self, copies: int) -> None:
        self.copies = copies
        self.thread = threading.get_ident()
        self.rows: int | None = None
        """Rows of all copies while one of them is computed."""
        self.rows_behind: int | None = None
        """Rows of all copies behind blocks of which one was computed."""
        self.masks: dict[int, tuple[Tensor, Tensor]] = {}
        """What was known before the module that runs now."""
        self.known: dict[int, tuple[Tensor, Tensor]] = {}
        """What was cut already: identity -> the whole, kept so that it stays the same, and its
        part."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is the pass of another thread, through the same modules."""
        return self.thread != threading.get_ident()

    def end(self) -> int | None:
        """Go on with all copies; return the rows of one if only that was computed."""
        if self.rows is None or self.is_elsewhere:
            return None
        one, self.rows = self.rows // self.copies, None
        return one

    def cut(self, value: Any) -> Any:
        """Return the first copy's part of an argument."""
        if isinstance(value, Tensor):
            return self.cut_tensor(value)
        if isinstance(value, tuple | list):
            items = [self.cut(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return value

    def cut_tensor(self, value: Tensor) -> Tensor:
        """Return a tensor's first copy, if it is copies of one thing; else itself."""
        if id(value) in self.known:
            return self.known[id(value)][1]
        part = value
        if self.rows and value.ndim and len(value) and len(value) % self.rows == 0:
            size = len(value) // self.copies
            if is_repeated(value, size):
                part = value[:size]
        self.known[id(value)] = (value, part)
        return part


def is_repeated(value: Tensor, size: int) -> bool:
    """Tell whether a tensor is its first `size` entries again and again."""
    return all(
        torch.equal(value[:size], value[start : start + size])
        for start in range(size, len(value), size)
    )


@final
class _Cut:
    """Gives a block the first copy of the batch."""

    def __init__(self, branch: _Branch, *, is_first: bool) -> None:
        self.branch, self.is_first = branch, is_first

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the arguments, cut."""
        branch = self.branch
        if branch.is_elsewhere:
            return None
        if self.is_first:
            hidden = first_float_argument(args, kwargs)
            branch.rows = branch.rows_behind = None
            branch.known = {}
            if hidden is None or has_cache(args, kwargs) or len(hidden) % branch.copies:
                return None
            if not is_repeated(hidden, len(hidden) // branch.copies):
                return None
            branch.rows = len(hidden)
        if branch.rows is None:
            return None
        return branch.cut(args), {name: branch.cut(value) for name, value in kwargs.items()}


@final
class _Grow:
    """Repeats what the last block gives."""

    def __init__(self, branch: _Branch) -> None:
        self.branch = branch

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Return the output of all copies."""
        branch = self.branch
        one = branch.end()
        if one is None:
            return None
        branch.rows_behind = one * branch.copies
        branch.known = {key: pair for key, pair in branch.known.items() if pair[0] is not pair[1]}
        hidden = first_float(output)
        if hidden is None or len(hidden) % one:
            return None
        return _grown(output, len(hidden), branch.copies)


@final
class _CutAlone:
    """Gives a module the first copy of rows that are the same in all copies."""

    def __init__(self, branch: _Branch) -> None:
        self.branch = branch

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the arguments, cut."""
        branch, hidden = self.branch, first_float_argument(args, kwargs)
        if branch.is_elsewhere or branch.rows_behind is None:
            return None
        if hidden is None or len(hidden) != branch.rows_behind:
            return None
        branch.rows, branch.masks = branch.rows_behind, dict(branch.known)
        return branch.cut(args), {name: branch.cut(value) for name, value in kwargs.items()}


@final
class _GrowAlone:
    """Repeats what such a module gives."""

    def __init__(self, branch: _Branch) -> None:
        self.branch = branch

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Return the output of all copies."""
        branch = self.branch
        one = branch.end()
        if one is None:
            return None
        branch.known = branch.masks  # nothing as large as the inputs is held until the end
        return _grown(output, one, branch.copies)


def _grown(value: Any, rows: int, copies: int) -> Any:
    """Repeat each tensor that has as many entries as the hidden state."""
    if isinstance(value, Tensor):
        is_rows = value.ndim > 0 and len(value) == rows
        return value.repeat(copies, *[1] * (value.ndim - 1)) if is_rows else value
    if isinstance(value, tuple | list):
        items = [_grown(item, rows, copies) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
