"""AdapterDrop: leave out an adapter's layers in the lowest blocks (Rücklé 2021)."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import torch

from inlay.errors import CompositionError
from inlay.sites.sitemap import SiteMap


@final
class _ThreadState(threading.local):
    """The number set in this thread only; `None` for the one set for all threads."""

    def __init__(self) -> None:
        self.lowest: int | None = None

    def __reduce__(self) -> tuple[type["_ThreadState"], tuple[()]]:
        return _ThreadState, ()


@final
class Dropping:
    """How many of the lowest blocks of each submodel run without adapters.

    Args:
        sites: The model's sites.
    """

    def __init__(self, sites: SiteMap) -> None:
        self.blocks = {site.name: site.block for site in sites if site.block is not None}
        self.num_blocks = max((sites.num_blocks(name) for name in sites.submodels()), default=0)
        self.for_all = 0
        self.up_to = 0
        self.drawn = 0  # for all threads: a checkpointed block may run again in another one
        self.thread = _ThreadState()

    @property
    def lowest(self) -> int:
        """The number that was set for this thread."""
        return self.for_all if self.thread.lowest is None else self.thread.lowest

    @contextmanager
    def in_this_thread(self, lowest: int) -> Iterator[None]:
        """Set a number in this thread for the length of a `with` block."""
        before = self.thread.lowest
        self.thread.lowest = lowest
        try:
            yield
        finally:
            self.thread.lowest = before

    def drops(self, site: str, in_training: bool) -> bool:  # noqa: FBT001
        """Tell whether the layer at a site is left out in this forward pass."""
        block = self.blocks.get(site)
        lowest = max(self.lowest, self.drawn if in_training else 0)
        return block is not None and block < lowest

    def draw_up_to(self, lowest: int) -> None:
        """Set the largest number that a step of training may draw; 0 to draw none."""
        self.up_to, self.drawn = lowest, 0

    def draw(self) -> None:
        """Draw the number for a step of training: each of 0 to `up_to` is as likely."""
        self.drawn = int(torch.randint(self.up_to + 1, ())) if self.up_to else 0

    def check(self, lowest: int, layers: Mapping[str, object], what: str) -> None:
        """Refuse a number that leaves nothing of an adapter, or has no effect on it.

        Args:
            lowest: How many of the lowest blocks are to be left out.
            layers: The adapter's layers by site.
            what: What was asked, for the message.

        Raises:
            CompositionError: If the number cannot be used.
        """
        if not 0 <= lowest < self.num_blocks:
            raise CompositionError(
                f"{what}: blocks are numbered 0 to {self.num_blocks - 1}, so between 0 and "
                f"{self.num_blocks - 1} of the lowest can be left out."
            )
        inside = [self.blocks[site] for site in layers if site in self.blocks]
        dropped = [block for block in inside if block < lowest]
        if lowest and not dropped:
            first = f"its lowest layer is in block {min(inside)}" if inside else "it is in no block"
            raise CompositionError(f"{what} has no effect on this adapter: {first}.")
        if lowest and len(dropped) == len(layers):
            raise CompositionError(
                f"{what} would leave out all layers of this adapter; its highest is in block "
                f"{max(inside)}, so at most {max(inside)} can be left out."
            )
