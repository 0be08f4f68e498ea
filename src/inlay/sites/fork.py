"""Compute once what all copies of a repeated batch share.

`Parallel` repeats the batch at the model's own inputs. Below the first block where the adapters of
the copies differ these are the same rows, so only the first one is computed there, module by
module: the lowest blocks, and in the block behind them what stands in front of the first adapter
(`sites/lead_in.py`). A module's arguments are cut to the first copy, and what it returns is
repeated, so that all that a model does in between (masks, positions, reshaping from stage to stage)
sees every copy.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inlay.sites.caches import Filling, caches_in, can_grow
from inlay.sites.replay import Trunk
from inlay.sites.tensors import first_float, first_float_argument

_OUTPUTS_OF_BLOCKS = ("output_hidden_states", "output_attentions", "output_router_logits")
"""Arguments with which a caller sees what single blocks give."""

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of a number -> the whole numbers of that size."""


@final
class Fork:
    """One forward pass in which the lowest blocks run on one copy of the batch.

    It watches modules through hooks, which other threads' passes go through unchanged.

    Args:
        model: The base.
        trunks: Its blocks that do the same for every copy.
        copies: How often the batch is there.
        note_cut: Told, in the pass's thread, when a module begins and ends to see one copy only.
    """

    def __init__(
        self,
        model: nn.Module,
        trunks: Sequence[Trunk],
        copies: int,
        note_cut: Callable[[bool], None],
    ) -> None:
        self.handles: list[RemovableHandle] = []
        for trunk in trunks:
            branch = _Branch(copies, note_cut)
            lead_in = [path for one in trunk.lead_in for path in one.outermost]
            for path in (*trunk.blocks, *lead_in):
                module, is_block = model.get_submodule(path), path in trunk.blocks
                is_read = is_block and (path != trunk.blocks[-1] or bool(lead_in))
                self.handles += [
                    module.register_forward_pre_hook(
                        _Cut(branch, is_block=is_block), with_kwargs=True
                    ),
                    # Before adapters act, which do so on all copies.
                    module.register_forward_hook(_Grow(branch, is_read=is_read), prepend=True),
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

    def __init__(self, copies: int, note_cut: Callable[[bool], None]) -> None:
        self.copies, self.note_cut = copies, note_cut
        self.thread = threading.get_ident()
        self.call: _Call | None = None
        """Of the module that runs on one copy now."""
        self.is_shared = False
        """Whether the last block ran on one copy."""
        self.known: dict[int, _Known] = {}
        """Identity of a tensor of all copies -> its part."""
        self.caches: dict[int, bool] = {}
        """Identity of a cache, which the pass holds -> whether one copy can fill it."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is the pass of another thread, through the same modules."""
        return self.thread != threading.get_ident()

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Go on with one copy, if all that has rows is copies of one thing; tell whether it is."""
        hidden, tensors = first_float_argument(args, kwargs), _tensors_in((args, *kwargs.values()))
        caches = caches_in(args, kwargs)
        if hidden is None or tensors is None or not all(map(self._is_filled_here, caches)):
            return False
        if not hidden.ndim or not hidden.numel() or len(hidden) % self.copies:
            return False
        of_rows = [tensor for tensor in tensors if _has_rows(tensor, len(hidden))]
        if any(self.part_of(tensor) is tensor for tensor in of_rows):
            self._forget_states(hidden)
            return False
        self.call = _Call(args, kwargs, hidden, [Filling(cache) for cache in caches])
        self.note_cut(True)
        return True

    def _is_filled_here(self, cache: Any) -> bool:
        """Tell whether a cache can grow, and was empty when this pass met it."""
        if id(cache) not in self.caches:
            self.caches[id(cache)] = can_grow(cache) and not cache.get_seq_length()
        return self.caches[id(cache)]

    def cut(self, value: Any) -> Any:
        """Return the first copy's part of an argument."""
        call = self.call
        if call is None or not isinstance(value, Tensor | tuple | list):
            return value
        if not isinstance(value, Tensor):
            return _with_items(value, map(self.cut, value))
        is_rows = value.ndim and len(value) and len(value) % len(call.hidden) == 0
        part = self.part_of(value) if is_rows else value
        call.given[id(part)] = _Known(value, part, _version(part))
        return part

    def part_of(self, whole: Tensor) -> Tensor:
        """Return a tensor's first copy, if it is copies of one thing; else itself."""
        known = self.known.get(id(whole))
        if known is None or known.version != _version(whole):
            size = len(whole) // self.copies
            is_cut = len(whole) % self.copies == 0 and is_repeated(whole, size)
            part = whole[:size] if is_cut else whole
            known = self.known[id(whole)] = _Known(whole, part, _version(whole))
        return known.part

    def end(self, module: nn.Module, output: Any, *, is_read: bool) -> Any:
        """Go on with all copies; return what a module gives to each.

        Args:
            module: What ran on one copy.
            output: What it gave.
            is_read: Whether a module that may run on one copy is given its hidden state.
        """
        call, self.call = self.call, None
        if call is None:
            return output
        self.note_cut(False)
        self._forget_states(call.hidden)
        rows, tensors = len(call.hidden) // self.copies, _tensors_in(output)
        is_clear = tensors is not None and not any(call.is_unclear(own, rows) for own in tensors)
        if not is_clear or not all(filling.grow(rows, self.copies) for filling in call.fillings):
            for filling in call.fillings:
                filling.undo()
            return module.forward(*call.args, **call.kwargs)
        hidden, grown = first_float(output), self._grown(output, call, rows)
        whole = first_float(grown)
        # An inference tensor does not tell whether it was changed since.
        if is_read and hidden is not None and whole is not None and not whole.is_inference():
            self.known[id(whole)] = _Known(whole, hidden, _version(whole))
        return grown

    def _forget_states(self, hidden: Tensor) -> None:
        """Hold nothing as large as a hidden state until the end of the pass."""
        self.known = {
            key: own for key, own in self.known.items()
            if own.whole.shape[:-1] != hidden.shape[:-1]
        }  # fmt: skip

    def _grown(self, value: Any, call: "_Call", rows: int) -> Any:
        if isinstance(value, tuple | list):
            return _with_items(value, (self._grown(item, call, rows) for item in value))
        if not isinstance(value, Tensor):
            return value
        whole = call.whole_of(value)
        if whole is not None:
            return whole
        is_rows = value.ndim and len(value) == rows
        return value.repeat(self.copies, *[1] * (value.ndim - 1)) if is_rows else value


@final
@dataclass(frozen=True, slots=True)
class _Known:
    """A tensor, kept so that its identity stays its own, and the first copy in it."""

    whole: Tensor
    part: Tensor
    version: int | None


@final
@dataclass(frozen=True, slots=True)
class _Call:
    """What a module was called with, before it was cut to one copy."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    hidden: Tensor
    fillings: Sequence[Filling]
    """Of the caches among it."""
    given: dict[int, _Known] = field(default_factory=dict)
    """Identity of what the module was given instead -> what that was."""

    def whole_of(self, value: Tensor) -> Tensor | None:
        """Return what stands for all copies of an argument that is handed on unchanged."""
        known = self.given.get(id(value))
        if known is None:
            return None
        is_unchanged = known.version is not None and known.version == _version(value)
        return known.whole if is_unchanged or known.whole is value else None

    def is_unclear(self, value: Tensor, rows: int) -> bool:
        """Tell whether a tensor may have several entries for each row, or be of all rows alike."""
        is_several = value.ndim > 0 and len(value) != rows and len(value) % rows == 0
        return is_several and self.whole_of(value) is None


def _version(value: Tensor) -> int | None:
    """Return a number that grows when a tensor is changed in place; none in inference mode."""
    return None if value.is_inference() else value._version


def _with_items(value: Any, items: Iterable[Any]) -> Any:
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _has_rows(value: Tensor, rows: int) -> bool:
    """Tell whether a tensor has entries for each row; positions are counted in one or two."""
    is_split = value.ndim > 2 and len(value) % rows == 0
    return value.ndim > 0 and len(value) > 0 and (is_split or len(value) == rows)


def _tensors_in(value: Any) -> list[Tensor] | None:
    """Return the tensors in tuples and lists; `None` if there are any in other containers."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        # One that is empty may be filled by a module, for later ones.
        return [] if value and _tensors_in(list(value.values())) == [] else None
    found: list[Tensor] = []
    for item in value if isinstance(value, tuple | list) else ():
        own = _tensors_in(item)
        if own is None:
            return None
        found += own
    return found


def is_repeated(value: Tensor, size: int) -> bool:
    """Tell whether a tensor is its first `size` entries again and again, bit by bit."""
    if value.is_floating_point():  # compared as such, it takes far longer
        value = value.detach().view(_BITS[value.itemsize])
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
        is_cut = (self.is_block or branch.is_shared) and branch.begin(args, kwargs)
        if self.is_block:
            branch.is_shared = is_cut
        if not is_cut:
            return None
        return branch.cut(args), {name: branch.cut(value) for name, value in kwargs.items()}


@final
class _Grow:
    """Repeats what such a module gives."""

    def __init__(self, branch: _Branch, *, is_read: bool) -> None:
        self.branch, self.is_read = branch, is_read

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Return the output of all copies."""
        branch = self.branch
        return None if branch.is_elsewhere else branch.end(module, output, is_read=self.is_read)
