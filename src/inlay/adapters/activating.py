"""Make a composition active: look its names up, refuse what cannot run, and set what runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import final

from torch import nn

from inlay.adapters.checking import check, check_skipping, resolved
from inlay.adapters.entry import Entry
from inlay.adapters.merge import Merged
from inlay.adapters.running import Active, Running, activated
from inlay.adapters.swap import WeightSwap
from inlay.compose.fuse import Fuse
from inlay.compose.nodes import Composition
from inlay.compose.route import Route
from inlay.errors import CompositionError


@final
class Activating:
    """Makes compositions active on one model; nothing is until it can run.

    Args:
        model: The base.
        entry: Gives the adapter of a name.
        running: What runs, which is set here.
        merged: What is merged into the base.
        swap: Exchanges weights of the base.
        is_pair: Whether the base has several stacks, of which one reads another's positions.
    """

    def __init__(
        self,
        model: nn.Module,
        entry: Callable[[str], Entry],
        running: Running,
        merged: Merged,
        swap: WeightSwap,
        *,
        is_pair: bool,
    ) -> None:
        self._model, self._is_pair = [model], is_pair
        self._entry, self._running, self._merged, self._swap = entry, running, merged, swap
        self.combinations: dict[str, Fuse | Route] = {}
        """Every learned combination on the model by its key."""

    def checked(self, composition: Composition, skip_lowest: int = 0) -> Active:
        """Take a composition apart, with what its names stand for, and refuse what cannot run.

        Raises:
            AdapterError: If a name is not known.
            CompositionError: If it cannot run, or not without so many of the lowest blocks.
        """
        active = activated(resolved(composition, self._entry))
        self._check(active, self.combinations)
        dropping, merged = self._running.dropping, self._merged.name
        check_skipping(active, self._entry, dropping, skip_lowest, merged=merged)
        return active

    def check_new(self, node: Fuse | Route) -> None:
        """Refuse a combination whose learned weights are still to be made, if it could not run.

        Raises:
            CompositionError: With the reason.
        """
        self._check(activated(node), {**self.combinations, node.key: node})

    def for_all(self, composition: Composition, skip_lowest: int) -> None:
        """Make a composition active for all threads.

        Raises:
            AdapterError: If a name is not known.
            CompositionError: If it cannot run.
        """
        active = self.checked(composition, skip_lowest)
        self._running.for_all = active
        self._running.dropping.for_all = skip_lowest
        self._exchange(active)

    @contextmanager
    def in_this_thread(self, composition: Composition, skip_lowest: int) -> Iterator[None]:
        """Make a composition active in this thread for the length of a `with` block.

        Raises:
            AdapterError: If a name is not known.
            CompositionError: If it cannot run.
        """
        active = self.checked(composition, skip_lowest)
        dropping = self._running.dropping.in_this_thread(skip_lowest)
        try:
            with self._running.in_this_thread(active), dropping:
                self._exchange(active)
                yield
        finally:
            self._exchange(self._running.active)

    def release(self, name: str) -> None:
        """Let an adapter that is to be removed run no longer.

        Raises:
            CompositionError: If it is part of a composition that is active.
        """
        alone = resolved(name, self._entry)
        for active in {self._running.for_all, self._running.active}:
            if name in (*active.names, *(node.key for node in active.combinations)):
                if active.composition != alone or self._running.thread.active:
                    raise CompositionError(
                        f"{name!r} is part of {active.composition!r}, which is active; "
                        "use another composition first."
                    )
                self.for_all(None, 0)

    def _check(self, active: Active, combinations: Mapping[str, Fuse | Route]) -> None:
        check(
            active, self._entry, combinations, merged=self._merged.name, model=self._model[0],
            is_pair=self._is_pair,
        )  # fmt: skip

    def _exchange(self, active: Active) -> None:
        """Let the base run on the copies of its weights that an active comparator owns."""
        only = active.plan.only
        weights = self._entry(only[0]).weights if only and isinstance(only[0], str) else {}
        self._swap.apply(weights)
