"""Let adapters act at sites through forward hooks; the base's modules are never replaced."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inlay.errors import SiteError
from inlay.sites.attention import relative_bias, tap, untap
from inlay.sites.calls import Actor, CallHook, EndHook, PassState
from inlay.sites.look_ups import LookUps, TablePlace, watch_look_ups
from inlay.sites.padding import watch_calls
from inlay.sites.positions import Numbering, shift_positions
from inlay.sites.prompts import PromptHooks, PromptPlace
from inlay.sites.reading import Form, Reader
from inlay.sites.sitemap import Site
from inlay.sites.tensors import (
    first_float,
    first_float_argument,
    first_indices,
    replace_first_argument,
    replace_first_float,
)


@final
class SiteHooks:
    """The forward hooks on one model.

    Args:
        model: The base.
        actor: What acts; it is asked at every forward pass.
    """

    def __init__(self, model: nn.Module, actor: Actor) -> None:
        self.model = model
        self.actor = actor
        self.local = PassState()
        self.looked_up = LookUps()
        self.handles: list[RemovableHandle] = []
        self.tapped: list[nn.Module] = []
        self.prompting: dict[PromptPlace, PromptHooks] = {}
        """Kept when hooks change, as they know what caches in use were filled behind."""

    def install(
        self,
        sites: Iterable[Site],
        *,
        streams: frozenset[str],
        heads: Iterable[str],
        calls: bool,
        blocks: Iterable[str] = (),
        attentions: Mapping[str, str] | None = None,
        prompts: Iterable[PromptPlace] = (),
        tables: Iterable[TablePlace] = (),
        numbering: Numbering | None = None,
    ) -> None:
        """Put hooks at exactly these places, in place of those that were there.

        Args:
            sites: Where adapters act.
            streams: Names of the sites at which an adapter reads the residual stream.
            heads: Paths of the model's own head modules that adapters have copies of.
            calls: Whether to watch the rows of the model's own arguments.
            blocks: Paths of all blocks, to watch the calls around them for padding masks and
                caches; none not to.
            attentions: Names of the sites at which adapters have keys and values -> paths of the
                modules that attend there.
            prompts: Where adapters have vectors to put in front of the word vectors.
            tables: Where adapters act on what is looked up.
            numbering: How the words are numbered that adapters move to other positions, or hide
                behind vectors.
        """
        self.remove()
        prompting = [
            self.prompting.setdefault(place, PromptHooks(place, self.actor)) for place in prompts
        ]
        if calls:  # before all others, which shall see the repeated batch
            watch, end = CallHook(self.actor, self.local), EndHook(self.actor, self.local)
            self.handles.append(self.model.register_forward_pre_hook(watch, with_kwargs=True))
            self.handles.append(self.model.register_forward_hook(end, always_call=True))
        if numbering is not None:
            self.handles.append(shift_positions(self.model, numbering, self.actor))
        for prompt in prompting:
            self.handles += prompt.insert(self.model)
        self._hook_sites(sites, streams)
        for table in tables:
            self.handles += watch_look_ups(self.model, table, self.actor, self.looked_up)
        for name, path in (attentions or {}).items():
            module = self.model.get_submodule(path)
            bias = relative_bias(self.model, path)
            self.handles += tap(module, name, self.actor, bias)
            self.tapped.append(module)
        for path in heads:
            hook_head = _HeadHook(self, path)
            head = self.model.get_submodule(path)
            self.handles.append(head.register_forward_hook(hook_head, with_kwargs=True))
        self.handles += watch_calls(self.model, blocks, self.actor.note_call)
        for prompt in prompting:
            self.handles += prompt.take_out(self.model)
        _forget_compiled()

    def _hook_sites(self, sites: Iterable[Site], streams: frozenset[str]) -> None:
        """Put in what acts and reads at sites."""
        places: dict[tuple[str, str], list[Site]] = {}
        # At one module, a map acts before the sublayer and that before the block.
        for site in sorted(sites, key=lambda s: (not s.is_map, not s.is_residual)):
            places.setdefault((site.module, site.point), []).append(site)
            if site.name in streams or site.takes_turns:
                self._watch_stream(site)
            if site.shape_module is not None:
                module = _module(self.model, site.shape_module, site)
                shape = _ShapeHook(self, site.name)
                self.handles.append(module.register_forward_pre_hook(shape, with_kwargs=True))
        for (path, point), own in places.items():
            module = _module(self.model, path, own[0])
            if point == "in":
                hook = _InputHook(self, own)
                self.handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            else:
                norms = {
                    s.name: _module(self.model, s.norm_module, s) for s in own if s.norm_module
                }
                self.handles.append(
                    module.register_forward_hook(_OutputHook(self, own, norms), with_kwargs=True)
                )

    def _watch_stream(self, site: Site) -> None:
        if site.stream_module is None:
            raise SiteError(
                f"site {site.name!r} does not say where the residual stream can be read; give "
                "stream_module, or a method that reads only 'x'."
            )
        module = _module(self.model, site.stream_module, site)
        if site.stream_point == "in":
            before = _StreamInHook(self, site)
            self.handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        else:
            after = _StreamOutHook(self, site)
            self.handles.append(module.register_forward_hook(after))

    def remove(self) -> None:
        """Take every hook out."""
        for module in self.tapped:
            untap(module)
        self.tapped = []
        if self.handles:
            for handle in self.handles:
                handle.remove()
            self.handles = []
            _forget_compiled()


def _module(model: nn.Module, path: str, site: Site) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise SiteError(f"site {site.name!r}: this model has no module {path!r}.") from error


def _forget_compiled() -> None:
    """Drop compiled code, because `torch.compile` does not notice that hooks have changed."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


@final
class _OutputHook:
    """Acts on what a module returns."""

    def __init__(self, hooks: SiteHooks, sites: list[Site], norms: dict[str, nn.Module]) -> None:
        self.hooks, self.sites, self.norms = hooks, sites, norms

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        x = first_float(output)
        if x is None:
            return None
        local, new = self.hooks.local, x
        turn = local.turns.pop(self.sites[0].module, None)
        for site in self.sites:
            if site.takes_turns and site.name != turn:
                continue
            form = Form(site, x.shape, local.shapes.pop(site.name, None))
            reader = Reader(
                site,
                new,
                form,
                stream=local.streams.pop(site.name, None),
                norm=self.norms.get(site.name),
                map_input=_map_input(site, args, kwargs),
            )
            new = _acted(self.hooks.actor, site, new, form, reader)
        return None if new is x else replace_first_float(output, new)


@final
class _InputHook:
    """Acts on what a module is given."""

    def __init__(self, hooks: SiteHooks, sites: list[Site]) -> None:
        self.hooks, self.sites = hooks, sites

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = first_float_argument(args, kwargs)
        if x is None:
            return None
        new = x
        for site in self.sites:
            form = Form(site, x.shape)
            new = _acted(self.hooks.actor, site, new, form, Reader(site, new, form))
        return None if new is x else replace_first_argument(args, kwargs, new)


def _map_input(site: Site, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return what a map is given: words if it is a table."""
    if site.kind == "embedding":
        return first_indices(args, kwargs)
    return first_float_argument(args, kwargs) if site.is_map else None


def _acted(actor: Actor, site: Site, x: Tensor, form: Form, reader: Reader) -> Tensor:
    """Return the base's `x` as the actor changes it; the same object if it does not."""
    before = form.given(x)
    after = actor.act(site.name, before, reader)
    return x if after is before else form.back(after)


@final
class _ShapeHook:
    """Keeps the batch and position dimensions that the base flattens further on."""

    def __init__(self, hooks: SiteHooks, site: str) -> None:
        self.hooks, self.site = hooks, site

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensor = first_float_argument(args, kwargs)
        if tensor is not None:
            self.hooks.local.shapes[self.site] = tensor.shape[:-1]


@final
class _StreamInHook:
    """Keeps the residual stream where it enters a module."""

    def __init__(self, hooks: SiteHooks, site: Site) -> None:
        self.hooks, self.site = hooks, site

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        _keep_stream(self.hooks, self.site, first_float_argument(args, kwargs))


@final
class _StreamOutHook:
    """Keeps the residual stream where it leaves a module."""

    def __init__(self, hooks: SiteHooks, site: Site) -> None:
        self.hooks, self.site = hooks, site

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        _keep_stream(self.hooks, self.site, first_float(output))


def _keep_stream(hooks: SiteHooks, site: Site, stream: Tensor | None) -> None:
    if site.takes_turns:
        hooks.local.turns[site.module] = site.name
    if stream is not None and hooks.actor.wants_stream(site.name):
        hooks.local.streams[site.name] = stream


@final
class _HeadHook:
    """Puts the active adapter's head in the place of the model's own."""

    def __init__(self, hooks: SiteHooks, path: str) -> None:
        self.hooks, self.path = hooks, path

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        return self.hooks.actor.act_as_head(self.path, args, kwargs, output)
