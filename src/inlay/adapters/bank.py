"""`Adapters`: the thin object at `model.adapters` that holds, activates and trains adapters."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, cast, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.adapters.activating import Activating
from inlay.adapters.base_weights import GradientFlags
from inlay.adapters.checking import check_name, resolved
from inlay.adapters.dropping import Dropping
from inlay.adapters.entry import Entry
from inlay.adapters.fronts import positions_before
from inlay.adapters.heads import RowAnswer, task_answers
from inlay.adapters.making import Maker
from inlay.adapters.merge import Merged
from inlay.adapters.merge_check import Outputs
from inlay.adapters.running import Running, Weights
from inlay.adapters.stacking import check_removable, check_stacking
from inlay.adapters.summary import summary_of
from inlay.adapters.swap import WeightSwap
from inlay.adapters.wiring import Wiring
from inlay.compose.fuse import Fuse
from inlay.compose.nodes import AbstractNode, Composition, names_in
from inlay.compose.route import Route
from inlay.compose.simplify import simplify
from inlay.compose.stack import Stack
from inlay.errors import AdapterError, CompositionError, did_you_mean
from inlay.methods.base import AbstractMethod
from inlay.methods.combining import AbstractCombineMethod
from inlay.sites.heads import own_heads
from inlay.sites.hooks import SiteHooks
from inlay.sites.placement import Layers
from inlay.sites.sitemap import SiteMap


@final
class Adapters(nn.Module):
    """The adapters on one model, reached as `model.adapters`.

    The model's classes, modules and state-dict keys stay as they are; adapters act through
    forward hooks, which are there only while an adapter is.

    Args:
        model: The base.
        sites: Its site map.
    """

    def __init__(self, model: nn.Module, sites: SiteMap) -> None:
        super().__init__()
        self._model = [model]  # in a list, so that it is not a submodule of its own child
        self.sites = sites
        self._entries = nn.ModuleDict()
        self._keys: dict[str, str] = {}
        self._counter = 0
        self._training_names: tuple[str, ...] = ()
        self._flags = GradientFlags(model, self)
        self._swap = WeightSwap(model)
        self._merged = Merged(model)
        self._running = Running(self.entry, self._merged.current, Dropping(sites), sites)
        self._activating = Activating(
            model, self.entry, self._running, self._merged, self._swap,
            is_pair=len(sites.submodels()) > 1,
        )  # fmt: skip
        self._hooks = SiteHooks(model, self._running)
        self._wiring = Wiring(model, sites, self._hooks)
        self.own_heads = own_heads(model)
        self._maker = Maker(model, self, sites, self.own_heads, self.original_weights)

    @property
    def model(self) -> nn.Module:
        """The model these adapters are on."""
        return self._model[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters' names, in the order in which they were added."""
        return tuple(self._keys)

    @property
    def active(self) -> Composition:
        """The composition that runs in this thread."""
        return self._running.active.composition

    @property
    def positions_in_front(self) -> int:
        """How many of the base's positions the active composition takes in front of the words.

        Of the row with the most: those of prompts, and of prefixes with `takes_positions`.
        """
        programs = self._running.active.plan.programs
        return max(positions_before(program, self.entry) for program in programs)

    def entry(self, name: str) -> Entry:
        """Return an adapter by name.

        Raises:
            AdapterError: If there is none of this name.
        """
        if name not in self._keys:
            there = ", ".join(repr(known) for known in self._keys) or "none yet"
            raise AdapterError(
                f"no adapter {name!r} on this model; it has {there}."
                f"{did_you_mean(str(name), self._keys)}"
            )
        return cast(Entry, self._entries[self._keys[name]])

    def add(
        self,
        name: str,
        method: AbstractMethod | str = "bottleneck",
        *,
        at: str | Sequence[str] | None = None,
        layers: Layers = "all",
        submodel: str | None = None,
        head: nn.Module | None = None,
        copy_heads: bool = True,
        stack_on: str | None = None,
        fresh: bool = True,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Entry:
        """Add a new, inactive adapter; nothing runs or learns differently yet.

        Args:
            name: Any text; dots, slashes and spaces are allowed.
            method: Settings such as `Bottleneck(reduction=16)`, or text such as `"lora[rank=4]"`
                or the name of a preset.
            at: Where: kinds of site, see `Placement`; by default the method's own place.
            layers: Which blocks.
            submodel: Which of several submodels; all by default.
            head: A head of the caller's own, kept and trained with the adapter.
            copy_heads: Whether the adapter gets its own copy of a Hugging Face task class's head.
            stack_on: An adapter that runs below this one wherever this one is named. `train` with
                this one's name leaves that as it is; `save` keeps a copy of it.
            fresh: Whether it starts here. If all of its weights are copied in next, as by `load`,
                a start that takes time is left out.
            tensors: Its weights, copied, named as in `Entry.tensors`; fresh ones by default.

        Raises:
            AdapterError: If the name is taken or empty, there is no adapter to stack it on, or
                `tensors` are not exactly its weights.
            SiteError: If the placement matches nothing or the method cannot act there.
            ConfigError: If the method is not known or a setting is not allowed.
            CompositionError: If the two cannot run one above the other.
        """
        check_name(name, self._keys)
        below = None if stack_on is None else self.entry(stack_on)
        entry = self._maker.made(
            name, method, tensors, at=at, layers=layers, submodel=submodel, head=head,
            copy_heads=copy_heads, fresh=fresh,
        )  # fmt: skip
        if below is not None:
            check_stacking(below, entry)
            entry.stack_on = stack_on
        return self._keep(name, entry)

    def add_combiner(
        self,
        composition: Fuse | Route,
        method: AbstractCombineMethod | None = None,
        *,
        head: nn.Module | None = None,
        copy_heads: bool = True,
    ) -> Entry:
        """Add the learned weights of a `Fuse` or `Route` over adapters that are there.

        They are kept under `composition.key`, trained by `train(composition)`, saved and loaded
        like an adapter.

        Args:
            composition: What is learned.
            method: Settings; by default `Fusion()` for `Fuse` and `Gate()` for `Route`.
            head: A head of the caller's own, kept and trained with the weights.
            copy_heads: Whether they get their own copy of a Hugging Face task class's head.

        Raises:
            AdapterError: If a name is not known, or the key is taken.
            CompositionError: If it is no `Fuse` or `Route`, or cannot run over these children.
        """
        node = simplify(resolved(composition, self.entry))
        if not isinstance(node, Fuse | Route):
            raise CompositionError(f"{composition!r} learns nothing; give Fuse(...) or Route(...).")
        check_name(node.key, self._keys)
        self._activating.check_new(node)
        children = [self.entry(name) for name in names_in(node)]
        entry = self._maker.combination(node, method, children, head, copy_heads=copy_heads)
        self._activating.combinations[node.key] = node
        return self._keep(node.key, entry)

    def remove(self, name: str) -> None:
        """Remove an adapter; with the last one, every hook is gone.

        Raises:
            AdapterError: If there is none of this name.
            CompositionError: If others need it, or it is part of a composition that is active.
        """
        entry = self.entry(name)
        combinations = self._activating.combinations
        check_removable(name, map(self.entry, self.names), combinations)
        if self._merged.name == name:
            self.unmerge()
        self._activating.release(name)
        del self._entries[self._keys.pop(name)]
        combinations.pop(name, None)
        self._training_names = tuple(n for n in self._training_names if n != name)
        if not self._training_names:
            self._running.dropping.draw_up_to(0)
            with self._swap.originals():
                self._flags.thaw()
        self._wiring.change(entry, -1)

    def use(self, composition: Composition, *, skip_lowest: int = 0) -> None:
        """Make a composition active, for all threads; nothing changes in what is trained.

        Args:
            composition: An adapter's name, an expression such as `Stack(...)`, or `None` for the
                base alone. The key of a learned combination stands for that combination.
            skip_lowest: Blocks at the bottom of each submodel in which no layer acts
                (AdapterDrop, Rücklé et al. 2021, arXiv:2010.11918).

        Raises:
            AdapterError: If a name is not known.
            CompositionError: If the composition cannot run.
        """
        self._activating.for_all(composition, skip_lowest)

    @contextmanager
    def using(self, composition: Composition, *, skip_lowest: int = 0) -> Iterator[None]:
        """Make a composition active in this thread for the length of a `with` block.

        Arguments are those of `use`. Comparators (`full`, `top`) exchange weights of the shared
        base while they are active, so other threads see them too.

        Raises:
            AdapterError: If a name is not known.
            CompositionError: If the composition cannot run.
        """
        with self._activating.in_this_thread(composition, skip_lowest):
            yield

    @override
    def train(
        self, mode: bool | Composition | Sequence[str] = True, *, drop_lowest: int = 0
    ) -> Self:
        """Train these adapters and their heads, and nothing else; they become active.

        Every other parameter of the model gets `requires_grad=False`, until `detach` or the
        removal of the trained adapters gives the base its own flags back.

        Args:
            mode: An adapter's name, several to stack, or a composition; what an adapter is stacked
                on is trained only if it is named. In one with `Fuse` or `Route` only their learned
                weights are trained, over frozen adapters; add `penalty()` to the loss. A boolean
                is PyTorch's own `Module.train(mode)`, which `model.train()` calls.
            drop_lowest: Each forward pass in training mode leaves out a random number of the
                lowest blocks' layers, up to this many (AdapterDrop's robust training).

        Raises:
            AdapterError: If a name is not known.
            CompositionError: If the composition or `drop_lowest` leaves nothing to train.
        """
        if isinstance(mode, bool):
            return super().train(mode)
        if not isinstance(mode, str | AbstractNode | None):
            names = tuple(mode)
            mode = names[0] if len(names) == 1 else Stack(*names)
        active = self._activating.checked(mode)
        names = tuple(node.key for node in active.combinations) or names_in(mode)
        if not names:
            raise CompositionError(f"train({mode!r}): there is no adapter to train.")
        for name in names if drop_lowest else ():
            acting = self.entry(name).layers or self.entry(name).combiners
            self._running.dropping.check(drop_lowest, acting, f"drop_lowest={drop_lowest}")
        self._running.dropping.draw_up_to(drop_lowest)
        with self._swap.originals():
            self._flags.freeze()
        for name in names:
            self.entry(name).requires_grad_(True)
        self._training_names = names
        self.use(mode)
        return self

    @override
    def forward(self, x: Any) -> Any:
        """Return `x`: a container such as `nn.Sequential` runs all of its children in turn."""
        return x

    @property
    def in_training(self) -> tuple[str, ...]:
        """The adapters that learn."""
        return self._training_names

    def merge(self, name: str, *, check: Mapping[str, Any] | None = None) -> None:
        """Add an adapter's update into the base's weights, so that it costs nothing to run.

        The original weights are kept aside; `unmerge` puts those very tensors back. With the
        arguments of a forward pass as `check`, a merge that changes its outputs is undone.

        Raises:
            AdapterError: If another adapter is merged or active, the method cannot merge, or
                outputs before and after differ by more than rounding.
        """
        entry = self.entry(name)
        self._merged.check(entry, self.active, self.sites)
        self.use(name)
        outputs = Outputs(self.model, check, self.using)
        self._merged.merge(entry, self.sites)
        self._wiring.change(entry, -1, heads=False)
        outputs.compare(name, self.unmerge)

    def unmerge(self) -> None:
        """Put the original weights back; does nothing if no adapter is merged."""
        if self._merged.name is not None:
            entry = self.entry(self._merged.name)
            self._merged.unmerge()
            self._wiring.change(entry, 1, heads=False)

    def penalty(self) -> Tensor:
        """Return the loss terms of the active `Fuse` and `Route`, a scalar; 0 without any.

        Add it to the task's loss: the distance of a fusion's value matrices from the identity,
        and the balance of a gate in this thread's last forward pass, both weighted as their
        settings say.
        """
        combinations = self._running.active.combinations
        layers = [c for node in combinations for c in self.entry(node.key).combiners.values()]
        terms = [layer.penalty() for layer in layers] + self._running.losses()
        return torch.stack(terms).sum() if terms else torch.zeros(())

    @contextmanager
    def combining_weights(self) -> Iterator[Weights]:
        """Record, in this thread, how much each adapter counts in `Fuse` and `Route`.

        Gives key -> site -> one tensor `(..., number)` for each time the site ran, several under
        `Rows`; empty until a forward pass.
        """
        with self._running.recording() as weights:
            yield weights

    def answers(self, *tensors: Tensor) -> list[RowAnswer]:
        """Run the task heads of the active composition, each on the rows it belongs to.

        For heads of different sizes, which fit no one tensor.

        Args:
            tensors: The heads' arguments, such as hidden states and mask; one entry for each row.

        Raises:
            CompositionError: If some rows have no head.
        """
        return task_answers(self._running.active.plan, self.entry, tensors)

    def summary(self) -> str:
        """Return a table of the adapters: method, places, weights, active or trained."""
        return summary_of(self)

    @contextmanager
    def original_weights(self) -> Iterator[None]:
        """Give the base its own weights for the length of a `with` block."""
        with self._merged.originals(), self._swap.originals():
            yield

    def close(self) -> None:
        """Undo everything that acts on the model: hooks, exchanged weights, gradient flags."""
        self.unmerge()
        self.use(None)
        self._hooks.remove()
        self._flags.thaw()

    def _keep(self, name: str, entry: Entry) -> Entry:
        """Take a new adapter in."""
        key = str(self._counter)
        self._counter += 1
        self._entries[key] = entry
        self._keys[name] = key
        self._wiring.change(entry, 1)
        return entry
