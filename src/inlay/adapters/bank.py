"""`Adapters`: the thin object at `model.adapters` that holds, activates and trains adapters."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, cast, final

import torch
from torch import nn
from typing_extensions import override

from inlay.adapters.entry import Entry, build_layers, copy_weights, reads_stream
from inlay.adapters.merge import Merged
from inlay.adapters.running import Running
from inlay.adapters.summary import summary_of
from inlay.adapters.swap import WeightSwap
from inlay.compose.nodes import Composition, names_in
from inlay.compose.stack import Stack
from inlay.errors import AdapterError, CompositionError, SiteError, did_you_mean
from inlay.methods.base import (
    AbstractAdapterLayer,
    AbstractMethod,
    AbstractSiteMethod,
    AbstractWeightMethod,
)
from inlay.methods.parse import parse_method
from inlay.sites.heads import own_heads
from inlay.sites.hooks import SiteHooks
from inlay.sites.placement import Layers, Placement, make_placement
from inlay.sites.sitemap import Site, SiteMap


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
        self._base_flags: dict[str, bool] = {}
        self._swap = WeightSwap(model)
        self._merged = Merged(model)
        self._running = Running(self.entry, self._merged.current)
        self._hooks = SiteHooks(model, self._running)
        self.own_heads = own_heads(model)

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
        return self._running.composition

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
    ) -> Entry:
        """Add a new, inactive adapter with fresh weights; nothing runs or learns differently yet.

        Args:
            name: Any text; dots, slashes and spaces are allowed.
            method: Settings such as `Bottleneck(reduction=16)`, or text such as `"lora[rank=4]"`
                or the name of a preset.
            at: Where: kinds of site, see `Placement`; by default the method's own place.
            layers: Which blocks.
            submodel: Which of several submodels; all by default.
            head: A head of the caller's own, kept and trained with the adapter.
            copy_heads: Whether the adapter gets its own copy of a Hugging Face task class's head.

        Raises:
            AdapterError: If the name is taken or empty.
            SiteError: If the placement matches nothing or the method cannot act there.
            ConfigError: If the method is not known or a setting is not allowed.
        """
        if not isinstance(name, str) or not name:
            raise AdapterError(f"an adapter's name is a text that is not empty, not {name!r}.")
        if name in self._keys:
            raise AdapterError(
                f"there is an adapter {name!r} already; remove it first or choose another name."
            )
        default_at = ""
        if isinstance(method, str):
            preset = parse_method(method)
            method, default_at = preset.method, preset.at
        if isinstance(method, AbstractSiteMethod):
            placement = make_placement(at or default_at or method.default_at, layers, submodel)
            entry = self._placed(name, method, placement, head, copy_heads=copy_heads)
        elif isinstance(method, AbstractWeightMethod):
            if at is not None or layers != "all" or submodel:
                raise AdapterError(
                    f"method {method.name!r} trains weights of the base, so at, layers and "
                    "submodel have no effect; leave them out."
                )
            entry = self._comparator(name, method, head, copy_heads=copy_heads)
        else:
            raise AdapterError(f"{method!r} is no method; see `inlay.methods.parse.METHODS`.")
        entry.requires_grad_(requires_grad=False)
        entry.train(self.model.training)
        key = str(self._counter)
        self._counter += 1
        self._entries[key] = entry
        self._keys[name] = key
        self._install()
        return entry

    def remove(self, name: str) -> None:
        """Remove an adapter; with the last one, every hook is gone.

        Raises:
            AdapterError: If there is none of this name.
            CompositionError: If it is part of a stack that is active.
        """
        self.entry(name)
        if self._merged.name == name:
            self.unmerge()
        if name in names_in(self.active):
            if self.active != name:
                raise CompositionError(
                    f"{name!r} is part of {self.active!r}, which is active; "
                    "use another composition first."
                )
            self.use(None)
        del self._entries[self._keys.pop(name)]
        self._training_names = tuple(n for n in self._training_names if n != name)
        if not self._training_names:
            self._thaw()
        self._install()

    def use(self, composition: Composition) -> None:
        """Make a composition active, for all threads; nothing changes in what is trained.

        Args:
            composition: An adapter's name, `Stack(...)`, or `None` for the base alone.

        Raises:
            AdapterError: If a name is not known.
            CompositionError: If the composition cannot run.
        """
        self._check(composition)
        self._running.for_all = composition
        self._swap.apply(self._weights_of(composition))

    @contextmanager
    def using(self, composition: Composition) -> Iterator[None]:
        """Make a composition active in this thread for the length of a `with` block.

        Comparators (`full`, `top`) exchange weights of the shared base while they are active, so
        other threads see them too.

        Raises:
            AdapterError: If a name is not known.
            CompositionError: If the composition cannot run.
        """
        self._check(composition)
        try:
            with self._running.in_this_thread(composition):
                self._swap.apply(self._weights_of(composition))
                yield
        finally:
            self._swap.apply(self._weights_of(self.active))

    @override
    def train(self, mode: bool | str | Sequence[str] = True) -> Self:
        """Train these adapters and their heads, and nothing else; they become active.

        Every other parameter of the model gets `requires_grad=False`, until `detach` or the
        removal of the trained adapters gives the base its own flags back.

        Args:
            mode: An adapter's name, or several to stack. A boolean is PyTorch's own
                `Module.train(mode)`, which `model.train()` calls.

        Raises:
            AdapterError: If a name is not known.
        """
        if isinstance(mode, bool):
            return super().train(mode)
        names = (mode,) if isinstance(mode, str) else tuple(mode)
        entries = [self.entry(name) for name in names]
        self._freeze()
        for entry in entries:
            entry.requires_grad_(True)
        self._training_names = names
        self.use(names[0] if len(names) == 1 else Stack(*names))
        return self

    @override
    def forward(self, x: Any) -> Any:
        """Return `x`: a container such as `nn.Sequential` runs all of its children in turn."""
        return x

    @property
    def in_training(self) -> tuple[str, ...]:
        """The adapters that learn."""
        return self._training_names

    def merge(self, name: str) -> None:
        """Add an adapter's update into the base's weights, so that it costs nothing to run.

        The original weights are kept aside; `unmerge` puts those very tensors back.

        Raises:
            AdapterError: If another adapter is merged or active, or the method cannot merge.
        """
        entry = self.entry(name)
        if not (isinstance(entry.method, AbstractSiteMethod) and entry.method.can_merge):
            raise AdapterError(
                f"{name!r} is of method {entry.method.name!r}, which cannot be merged into the "
                "base's weights; only updates of linear maps (lora) can."
            )
        if self.active is not None and self.active != name:
            raise AdapterError(f"{self.active!r} is active; call use({name!r}) or use(None) first.")
        self.use(name)
        self._merged.merge(entry, self.sites)
        self._install()

    def unmerge(self) -> None:
        """Put the original weights back; does nothing if no adapter is merged."""
        self._merged.unmerge()
        self._install()

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
        self._running.for_all = None
        self._swap.apply({})
        self._hooks.remove()
        self._thaw()

    def _placed(
        self,
        name: str,
        method: AbstractSiteMethod,
        placement: Placement,
        head: nn.Module | None,
        *,
        copy_heads: bool,
    ) -> Entry:
        """Build an adapter that acts at sites."""
        chosen = placement.select(self.sites)
        layers = build_layers(method, chosen)
        self._match_base(layers, chosen)
        return Entry(
            name=name, method=method, placement=placement, layers=layers, weights={}, head=head,
            own_heads=self._copied_heads() if copy_heads else {},
        )  # fmt: skip

    def _comparator(
        self,
        name: str,
        method: AbstractWeightMethod,
        head: nn.Module | None,
        *,
        copy_heads: bool,
    ) -> Entry:
        """Build an adapter that is a copy of weights of the base."""
        with self.original_weights():
            weights = copy_weights(method, self._base_parameters(), self.sites)
        return Entry(
            name=name, method=method, placement=None, layers={}, weights=weights, head=head,
            own_heads=self._copied_heads() if copy_heads else {},
        )  # fmt: skip

    def _copied_heads(self) -> dict[str, nn.Module]:
        modules = dict(self.model.named_modules())
        return {path: copy.deepcopy(modules[path]) for path in self.own_heads}

    def _check(self, composition: Composition) -> None:
        names = names_in(composition)
        comparators = [n for n in names if isinstance(self.entry(n).method, AbstractWeightMethod)]
        if comparators and len(names) > 1:
            raise CompositionError(
                f"{composition!r}: {comparators[0]!r} exchanges the base's own weights and can "
                "only be used alone."
            )
        if self._merged.name is not None and names != (self._merged.name,):
            raise CompositionError(
                f"{composition!r} cannot run while {self._merged.name!r} is merged into the base; "
                "call unmerge() first."
            )

    def _weights_of(self, composition: Composition) -> dict[str, nn.Parameter]:
        names = names_in(composition)
        return self.entry(names[0]).weights if len(names) == 1 else {}

    def _install(self) -> None:
        """Put hooks exactly where adapters are."""
        entries = [self.entry(name) for name in self.names]
        acting = [
            (site, layer)
            for entry in entries
            if entry.name != self._merged.name
            for site, layer in entry.layers.items()
        ]
        used = {site for site, _ in acting}
        self._hooks.install(
            [site for site in self.sites if site.name in used],
            streams=frozenset(site for site, layer in acting if reads_stream(layer)),
            heads=sorted({path for entry in entries for path in entry.own_heads}),
            calls=any(layer.sees_neighbours for _, layer in acting),
        )

    def _match_base(
        self, layers: Mapping[str, AbstractAdapterLayer], sites: tuple[Site, ...]
    ) -> None:
        """Move new layers to their site's device, in at least float32."""
        modules = dict(self.model.named_modules())
        fallback = next(self.model.parameters(), torch.empty(0))
        for site in sites:
            if site.module not in modules:
                raise SiteError(f"site {site.name!r}: this model has no module {site.module!r}.")
            near = next(modules[site.module].parameters(), fallback)
            dtype = torch.promote_types(near.dtype, torch.float32)
            layers[site.name].to(device=near.device, dtype=dtype)

    def _base_parameters(self) -> dict[str, nn.Parameter]:
        """The base's own parameters by path, without adapters and own heads."""
        own = {id(p) for p in self.parameters()}
        heads = tuple(f"{path}." for path in self.own_heads)
        return {
            path: parameter
            for path, parameter in self.model.named_parameters(remove_duplicate=False)
            if id(parameter) not in own and not path.startswith(heads)
        }

    def _freeze(self) -> None:
        with self._swap.originals():
            parameters = dict(self.model.named_parameters())
            own = {id(p) for p in self.parameters()}
            base = {path: p for path, p in parameters.items() if id(p) not in own}
            if not self._base_flags:
                self._base_flags = {path: p.requires_grad for path, p in base.items()}
            for parameter in parameters.values():
                parameter.requires_grad_(False)

    def _thaw(self) -> None:
        """Give the base its own gradient flags back."""
        with self._swap.originals():
            parameters = dict(self.model.named_parameters())
            for path, flag in self._base_flags.items():
                parameters[path].requires_grad_(flag)
        self._base_flags = {}
