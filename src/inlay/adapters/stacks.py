"""Keep the weights of adapters of one kind stacked, so that a pass need not gather them."""

import threading
import weakref
from collections.abc import Hashable, Sequence
from typing import final

import torch
from torch import Tensor

from inlay.methods.base import Grouped


@final
class Stacks:
    """The stacked weights of all adapters that have run in a grouped pass.

    The weights themselves become views of their places in a stack: a change of one, even through
    `.data`, which PyTorch does not count, is a change of the stack, and one that was moved out is
    recognised by its address.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, Hashable], _Stack] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Stacks"], tuple[()]]:
        """Let a copy of a model start without stacks."""
        return Stacks, ()

    def of(self, site: str, forms: Sequence[Grouped]) -> tuple[Tensor, ...]:
        """Return the weights of layers of one kind, stacked in this order.

        Args:
            site: The site's name.
            forms: The layers, with equal keys.

        Returns:
            One tensor for each weight of a layer; with gradient a new one, else from what is kept.
        """
        several = list(zip(*(form.weights for form in forms), strict=True))
        if torch.is_grad_enabled():
            return tuple(torch.stack(weights) for weights in several)
        found = []
        with self._lock:
            for number, weights in enumerate(several):
                key = (site, number, (forms[0].key, weights[0].device))
                if key not in self._kept:
                    self._kept[key] = _Stack()
                found.append(self._kept[key].of(weights))
        return tuple(found)


@final
class _Stack:
    """One weight of many adapters."""

    def __init__(self) -> None:
        self.stack: Tensor | None = None
        self.owners: list[weakref.ref[Tensor] | None] = []
        self.addresses: list[int] = []
        """Of the weights that were asked for last."""
        self.places: slice | Tensor = slice(0)
        """Where these lie in the stack."""

    def of(self, weights: Sequence[Tensor]) -> Tensor:
        """Return the weights in this order: a part of the stack if they lie so, else a copy."""
        if self.stack is None or self.addresses != [weight.data_ptr() for weight in weights]:
            return self.found(weights)
        if isinstance(self.places, slice):
            return self.stack[self.places]
        return self.stack.index_select(0, self.places)

    def found(self, weights: Sequence[Tensor]) -> Tensor:
        """Return the weights as `of` does, after a look where each lies."""
        stack, places = self.stack, [self.place(weight) for weight in weights]
        if stack is None or None in places:
            stack, places = self.take_in(weights)
        known = [place for place in places if place is not None]
        first, number = known[0], len(known)
        is_part = known == list(range(first, first + number))
        self.places = slice(first, first + number) if is_part else torch.tensor(known)
        if isinstance(self.places, Tensor):
            self.places = self.places.to(stack.device)
        self.addresses = [weight.data_ptr() for weight in weights]
        return self.of(weights)

    def place(self, weight: Tensor) -> int | None:
        """Return where a weight lies in the stack, or `None` if it does not."""
        if self.stack is None:
            return None
        step = self.stack.stride(0) * self.stack.element_size()
        place, rest = divmod(weight.data_ptr() - self.stack.data_ptr(), step)
        return place if rest == 0 and 0 <= place < len(self.stack) else None

    def take_in(self, weights: Sequence[Tensor]) -> tuple[Tensor, list[int | None]]:
        """Give weights that are outside a place, in a larger stack if there is none free."""
        alive = [owner() if owner is not None else None for owner in self.owners]
        inside = [
            weight if weight is not None and self.place(weight) == place else None
            for place, weight in enumerate(alive)
        ]
        new = [weight for weight in weights if not any(weight is other for other in inside)]
        free = [place for place, weight in enumerate(inside) if weight is None]
        with torch.inference_mode(False), torch.no_grad():
            if self.stack is None or len(free) < len(new):
                everyone = [weight for weight in inside if weight is not None] + new
                spare = len(everyone) if self.stack is not None else 0  # so that growth is rare
                first = everyone[0]
                self.stack = first.new_empty((len(everyone) + spare, *first.shape))
                self.owners = [None] * len(self.stack)
                free, new = list(range(len(self.stack))), everyone
            for place, weight in zip(free, new, strict=False):
                self.stack[place].copy_(weight)
                weight.data = self.stack[place]
                self.owners[place] = weakref.ref(weight)
        return self.stack, [self.place(weight) for weight in weights]
