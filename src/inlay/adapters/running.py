"""The composition that is active, as the hooks see it at every forward pass."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from inlay.adapters.dropping import Dropping
from inlay.adapters.entry import Entry, reads_stream
from inlay.adapters.fronts import Fronts, inserted_by, shifts_of
from inlay.adapters.heads import answer, answer_rows, heads_of, own_head_finder
from inlay.adapters.programs import Around, SitePass
from inlay.adapters.rows import RowGroups, act_on_rows
from inlay.adapters.stacks import Stacks
from inlay.adapters.trunks import trunks_of_copies
from inlay.compose.fuse import Fuse
from inlay.compose.nodes import Composition, names_in
from inlay.compose.plan import Plan, combiners_in, make_plan
from inlay.compose.route import Route
from inlay.errors import CompositionError
from inlay.methods.base import (
    AbstractAdapterLayer,
    AbstractAttentionLayer,
    AbstractLayer,
    AbstractPromptLayer,
)
from inlay.sites.front_keys import FrontPass
from inlay.sites.padding import Call
from inlay.sites.reading import Read
from inlay.sites.replay import Trunk
from inlay.sites.sitemap import SiteMap
from inlay.sites.vectors import Vectors

Weights = dict[str, dict[str, list[Tensor]]]
"""Key of learned weights -> site -> how they weighed the adapters, pass by pass."""


@final
@dataclass(frozen=True, eq=False)
class Active:
    """A composition that can run, taken apart once."""

    composition: Composition
    plan: Plan
    names: tuple[str, ...] = ()
    """Every adapter in it."""
    combinations: tuple[Fuse | Route, ...] = ()
    """Every learned combination in it."""
    groups: dict[tuple[int, torch.device], RowGroups] = field(default_factory=dict)
    """The rows by program for first dimensions that were met."""

    def rows(self, x: Tensor) -> RowGroups:
        """Return the rows of a tensor grouped by program."""
        key = (len(x), x.device)
        found = self.groups.get(key)  # which another thread may clear
        if found is None:
            if len(self.groups) > 64:  # lengths change with every batch where rows are split
                self.groups.clear()
            found = self.groups[key] = RowGroups(self.plan, *key)
        return found


def activated(composition: Composition) -> Active:
    """Take a composition apart so that it can run.

    Raises:
        CompositionError: If it has no clear meaning.
    """
    plan = make_plan(composition)
    combinations = dict.fromkeys(node for p in plan.programs for node in combiners_in(p))
    return Active(composition, plan, names_in(composition), tuple(combinations))


@final
class _Thread:
    """What was set in one thread only, and the forward pass that is running in it."""

    def __init__(self) -> None:
        self.active: Active | None = None
        self.call = Call()
        self.copies = 1
        """How often the batch of the running forward pass was repeated."""
        self.is_cut = False
        """Whether the module that runs sees one copy of it only."""
        self.rows: int | None = None
        self.losses: list[Tensor] = []
        self.record: Weights | None = None


@final
class _ThreadState(threading.local):
    """This thread's own, in an object: what compiled code sets here itself is lost."""

    def __init__(self) -> None:
        self.now = _Thread()

    def __reduce__(self) -> tuple[type["_ThreadState"], tuple[()]]:
        return _ThreadState, ()


@final
class Running:
    """Runs the active composition's layers at each site.

    Args:
        entry: Gives the adapter of a name.
        merged: Gives the name of the adapter that is merged into the base, or `None`.
        dropping: Says which layers are left out.
        sites: The base's sites.
    """

    def __init__(
        self,
        entry: Callable[[str], Entry],
        merged: Callable[[], str | None],
        dropping: Dropping,
        sites: SiteMap,
    ) -> None:
        self.entry = entry
        self.sites = sites
        self.merged = merged
        self.dropping = dropping
        self.for_all = activated(None)
        self.local = _ThreadState()
        self.stacks = Stacks()

    @property
    def thread(self) -> _Thread:
        """What is set, and what runs, in this thread."""
        return self.local.now

    @property
    def active(self) -> Active:
        """What runs in this thread: its own composition, or else the one for all threads."""
        return self.thread.active or self.for_all

    @contextmanager
    def in_this_thread(self, active: Active) -> Iterator[None]:
        """Set a composition in this thread for the length of a `with` block."""
        before = self.thread.active
        self.thread.active = active
        try:
            yield
        finally:
            self.thread.active = before

    @contextmanager
    def recording(self) -> Iterator[Weights]:
        """Keep how learned combinations weigh the adapters, in this thread."""
        before = self.thread.record
        self.thread.record = {}
        try:
            yield self.thread.record
        finally:
            self.thread.record = before

    def wants_stream(self, site: str) -> bool:
        """Tell whether an active adapter reads the residual stream at a site."""
        return any(reads_stream(layer) for layer in self._layers(site))

    def acts_at(self, site: str) -> bool:
        """Tell whether an active adapter has a layer for a site's output that is not left out."""
        return any(isinstance(layer, AbstractAdapterLayer) for layer in self._layers(site))

    def has_prefix(self, site: str) -> bool:
        """Tell whether an active adapter gives keys and values to the attention at a site."""
        return any(isinstance(layer, AbstractAttentionLayer) for layer in self._layers(site))

    def prefixes(self, site: str, query: Tensor, states: Tensor | None) -> list[FrontPass]:
        """Return the keys and values of the active adapters, in the order of the composition."""
        return self._fronts().prefixes(site, query, states)

    def prompts(self, site: str, words: Tensor) -> Vectors | None:
        """Return the vectors of the active adapters, in the order of the composition."""
        if not any(isinstance(layer, AbstractPromptLayer) for layer in self._layers(site)):
            return None
        return self._fronts().prompts(site, words)

    def returns_prompts(self, site: str) -> bool:
        """Tell whether what the model returns shall have the vectors' positions too."""
        prompts = [x for x in self._layers(site) if isinstance(x, AbstractPromptLayer)]
        return any(prompt.returned for prompt in prompts)

    def shift(self, words: Tensor) -> int | Tensor:
        """Return by how many positions the words of this pass stand further back."""
        return self._fronts().shift(words)

    def inserted(self) -> int:
        """Return how many vectors a cache that was filled in this way holds beside the words."""
        return max(inserted_by(program, self.entry) for program in self.active.plan.programs)

    def _fronts(self) -> Fronts:
        around = Around(self.entry, self.merged(), self.thread.call, self.dropping.drops)
        return Fronts(self.active.plan, self._grouped, around)

    def _grouped(self, x: Tensor) -> RowGroups:
        self._check_repeated(self.active.plan)
        return self.active.rows(x)

    def act(self, site: str, x: Tensor, read: Read) -> Tensor:
        """Return what the active composition makes of `x` at a site."""
        active = self.active
        if not active.names or not any(self.acts(name, site) for name in active.names):
            return x
        thread = self.thread
        around = Around(self.entry, self.merged(), thread.call, self.dropping.drops, self._note)
        one = SitePass(site, x, read, around)
        if active.plan.only:
            return one.run(active.plan.only[0], x)
        if thread.is_cut:  # where all do the same
            return one.run(active.plan.programs[0], x)
        return act_on_rows(
            one,
            self._grouped(x),
            self.stacks,
            lambda program: any(self.acts(name, site) for name in names_in(program)),
        )

    def acts(self, name: str, site: str) -> bool:
        """Tell whether an adapter has a layer that gives a site's output."""
        return isinstance(self.entry(name).layer_at(site), AbstractAdapterLayer)

    def act_as_head(
        self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        """Return what the active composition's copies of a head of the model give."""
        plan, find = self.active.plan, own_head_finder(self.entry, path)
        if plan.only:
            shares = heads_of(plan.only[0], find)
            if all(head is None for _, head in shares):
                return None
            return answer(shares, args, kwargs, output)
        if not any(head for program in plan.programs for _, head in heads_of(program, find)):
            return None
        self._check_repeated(plan)
        return answer_rows(plan, find, args, kwargs, output)

    def copies(self) -> int:
        """Tell how often the batch of a forward pass that starts is to be repeated.

        0 if any number of rows will do, as they all run through one program.
        """
        plan = self.active.plan
        return 0 if plan.only else len(plan.copies)

    def trunks(self) -> list[Trunk]:
        """Return the blocks that are the same for all copies, which may number words otherwise."""
        shifts = [shifts_of(program, self.entry) for program in self.active.plan.programs]
        if any(shift != shifts[0] for shift in shifts):
            return []
        programs = self.active.plan.programs
        return trunks_of_copies(programs, self.entry, self.sites, self.dropping.drops)

    def note_cut(self, is_cut: bool) -> None:  # noqa: FBT001
        """Remember whether the module that runs sees one copy of the batch only."""
        self.thread.is_cut = is_cut

    def note_start(self, rows: int | None) -> None:
        """Remember the forward pass that starts in this thread.

        Raises:
            CompositionError: If `Rows` is active and the batch has another number of rows.
        """
        plan = self.active.plan
        if plan.rows is not None and rows is not None and rows != plan.rows * len(plan.copies):
            raise CompositionError(
                f"the active Rows is for a batch of {plan.rows} rows, but the model was given "
                f"{rows // len(plan.copies)}; name one adapter for each row."
            )
        thread = self.thread
        thread.call = Call()
        thread.copies, thread.rows, thread.losses = len(plan.copies), rows, []
        self.dropping.draw()

    def note_call(self, call: Call) -> None:
        """Remember the padding of the stack that starts to run in this thread."""
        self.thread.call = call

    def note_end(self) -> int | None:
        """Take note that the forward pass is over; return its rows if they were repeated."""
        rows = self.thread.rows if self.thread.copies > 1 else None
        self.thread.copies, self.thread.is_cut = 1, False  # of a module that failed
        return rows

    def losses(self) -> list[Tensor]:
        """Return the loss terms that learned combinations gave in this thread's last pass."""
        return self.thread.losses

    def _layers(self, site: str) -> Iterator[AbstractLayer]:
        """Give the layers at a site that are not left out, in the order of the composition."""
        merged = self.merged()
        for name in self.active.names:
            layer = self.entry(name).layer_at(site)
            if layer is None or name == merged or self.dropping.drops(site, layer.training):
                continue
            yield layer

    def _note(self, key: str, site: str, weights: Tensor, loss: Tensor | None) -> None:
        if loss is not None and torch.is_grad_enabled():
            self.thread.losses.append(loss)
        if self.thread.record is not None:
            sites = self.thread.record.setdefault(key, {})
            sites.setdefault(site, []).append(weights.detach())

    def _check_repeated(self, plan: Plan) -> None:
        """Refuse a pass through a part of the model, whose inputs nobody has repeated."""
        if len(plan.copies) == self.thread.copies:
            return  # before what torch.compile cannot trace
        is_recomputed = torch._C._current_graph_task_id() != -1  # checkpointing, in the backward
        if not is_recomputed:
            raise CompositionError(
                "Parallel repeats the batch at the inputs of the model that `attach` was called "
                "on, but a part of it was called directly (as `generate` does with an encoder). "
                "Repeat the batch yourself: `rows, batch = inlay.repeat(parallel, batch)`."
            )
