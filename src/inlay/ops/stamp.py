"""Tell whether weights have changed since something was computed from them."""

from collections.abc import Iterable
from typing import final

from torch import Tensor


@final
class Stamp:
    """The state of some tensors at one moment.

    The tensors themselves are held, so that another one can never be taken for one of them.

    Args:
        tensors: The weights.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = tuple(tensors)
        self.state = self._state()

    def holds_for(self, tensors: Iterable[Tensor]) -> bool:
        """Tell whether these are the same tensors, unchanged since."""
        given = tuple(tensors)
        same = len(given) == len(self.tensors) and all(map(_is, given, self.tensors))
        return same and self.state == self._state()

    def _state(self) -> tuple[tuple[int, int], ...]:
        # A tensor made in inference mode counts no versions; it cannot be written to outside.
        return tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in self.tensors)


def _is(one: object, two: object) -> bool:
    return one is two
