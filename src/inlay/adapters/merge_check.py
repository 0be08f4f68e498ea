"""Compare what a model gives before and after a merge."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from inlay.errors import AdapterError
from inlay.sites.tensors import is_float

_ROUNDINGS = 32
"""How many roundings of the coarsest precision outputs may be apart, relative to their norm."""

_LOST = 0.5
"""Share of the adapter's own effect that may be lost to rounding."""


@final
class Outputs:
    """What a model gives for a batch, with an adapter and without; dropout is off meanwhile.

    Args:
        model: The model, with the adapter active and not merged.
        batch: Arguments of a forward pass; `None` to compare nothing.
        using: Makes a composition active for the length of a `with` block.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Mapping[str, Any] | None,
        using: Callable[[None], AbstractContextManager[None]],
    ) -> None:
        self._model, self._batch = model, batch
        self._before = self._run()
        with using(None):
            self._base = self._run()

    def compare(self, name: str, undo: Callable[[], None]) -> None:
        """Run the model as it is now; if its outputs differ by more than rounding, undo it.

        A change of weights that is below their precision is lost in a merge while the outputs
        stay close, so the difference is held against the adapter's own effect as well.

        Raises:
            AdapterError: If the outputs differ.
        """
        try:
            fault = self._fault()
        except Exception:
            undo()
            raise
        if fault is not None:
            undo()
            raise AdapterError(f"merging {name!r} {fault}")

    def _fault(self) -> str | None:
        after = self._run()
        dtypes = {p.dtype for p in self._model.parameters() if p.is_floating_point()}
        coarsest = max(torch.finfo(dtype).eps for dtype in dtypes)
        for number, (old, new, base) in enumerate(
            zip(self._before, after, self._base, strict=True)
        ):
            size, apart, effect = _norm(old), _norm(new - old), _norm(old - base)
            if not apart <= _ROUNDINGS * coarsest * size:  # also true for what is no number
                return (
                    f"changed output {number} by {apart / size if size else apart:.2g} of its "
                    f"norm; rounding explains {_ROUNDINGS * coarsest:.2g}. The merge was undone; "
                    "run the adapter unmerged."
                )
            if apart > _LOST * effect:
                return (
                    f"lost it in rounding: output {number} moved by {apart:.2g}, and the adapter's "
                    f"own effect is {effect:.2g}. The merge was undone; keep the base in a finer "
                    "precision, or run the adapter unmerged."
                )
        return None

    def _run(self) -> list[Tensor]:
        if self._batch is None:
            return []
        with _evaluating(self._model), torch.no_grad():
            return [tensor.double() for tensor in _floats(self._model(**self._batch))]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, and each back in its own."""
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _floats(value: Any) -> Iterator[Tensor]:
    """Give every floating-point tensor in what a model returned."""
    if is_float(value):
        yield value.detach()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _floats(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _floats(item)


def _norm(tensor: Tensor) -> float:
    return float(tensor.norm())
