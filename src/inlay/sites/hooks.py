"""Let adapters act at sites through forward hooks; the base's modules are never replaced."""

import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inlay.errors import SiteError
from inlay.sites.attention import tap, untap
from inlay.sites.calls import Call, watch_calls
from inlay.sites.prompts import PromptHooks, PromptPlace
from inlay.sites.sitemap import Site
from inlay.sites.tensors import (
    first_float,
    first_float_argument,
    replace_first_argument,
    replace_first_float,
)

Read = Callable[[str, Tensor | None], Tensor]
"""Gives what a method asks for at a site: `x`, `r`, `x+r`, `norm(x+r)` or `in`; channels last.

The second argument is `x` as other adapters have changed it, or `None` for the base's own.
"""


class Actor(Protocol):
    """What acts at the sites."""

    def wants_stream(self, site: str) -> bool:
        """Tell whether the residual stream will be read at this site in this forward pass."""

    def act(self, site: str, x: Tensor, read: Read) -> Tensor:
        """Return the new `x` of a site (channels last); the same object if nothing acts."""

    def act_as_head(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the active adapter's own head gives, or `None` for the base's head."""

    def has_prefix(self, site: str) -> bool:
        """Tell whether there are keys and values for an attention; see `PrefixSource`."""

    def prefixes(self, site: str) -> list[tuple[Tensor, Tensor]]:
        """Return keys and values for an attention; see `PrefixSource`."""

    def prompts(self, site: str) -> list[Tensor]:
        """Return vectors for the front of the sequence; see `PromptSource`."""

    def note_call(self, call: Call) -> None:
        """Take note of a forward pass that starts: its padding, and whether it continues."""


@final
class _ThreadLocal(threading.local):
    """Streams read in this thread's forward pass; a copy of a model starts with none."""

    def __init__(self) -> None:
        self.streams: dict[str, Tensor] = {}
        self.shapes: dict[str, torch.Size] = {}

    def __reduce__(self) -> tuple[type["_ThreadLocal"], tuple[()]]:
        return _ThreadLocal, ()


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
        self.local = _ThreadLocal()
        self.handles: list[RemovableHandle] = []
        self.tapped: list[nn.Module] = []

    def install(
        self,
        sites: Iterable[Site],
        *,
        streams: frozenset[str],
        heads: Iterable[str],
        calls: Iterable[str] | None,
        attentions: Mapping[str, str] | None = None,
        prompts: Iterable[PromptPlace] = (),
    ) -> None:
        """Put hooks at exactly these places, in place of those that were there.

        Args:
            sites: Where adapters act.
            streams: Names of the sites at which an adapter reads the residual stream.
            heads: Paths of the model's own head modules that adapters have copies of.
            calls: Paths of all blocks, to watch the calls around them for padding masks and caches;
                `None` not to.
            attentions: Names of the sites at which adapters have keys and values -> paths of the
                modules that attend there.
            prompts: Where adapters have vectors to put in front of the word vectors.
        """
        self.remove()
        prompting = [PromptHooks(place, self.actor) for place in prompts]
        for prompt in prompting:
            self.handles += prompt.insert(self.model)
        modules = dict(self.model.named_modules())
        places: dict[tuple[str, str], list[Site]] = {}
        # At one module, a linear map acts before the sublayer and that before the block.
        for site in sorted(sites, key=lambda s: (not s.is_linear, not s.is_residual)):
            places.setdefault((site.module, site.point), []).append(site)
            if site.name in streams:
                self._watch_stream(site, modules)
            if site.shape_module is not None:
                module = _module(modules, site.shape_module, site)
                shape = _ShapeHook(self, site.name)
                self.handles.append(module.register_forward_pre_hook(shape, with_kwargs=True))
        for (path, point), own in places.items():
            module = _module(modules, path, own[0])
            if point == "in":
                hook = _InputHook(self, own)
                self.handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            else:
                norms = {s.name: _module(modules, s.norm_module, s) for s in own if s.norm_module}
                self.handles.append(
                    module.register_forward_hook(_OutputHook(self, own, norms), with_kwargs=True)
                )
        for name, path in (attentions or {}).items():
            self.handles += tap(modules[path], name, self.actor)
            self.tapped.append(modules[path])
        for path in heads:
            hook_head = _HeadHook(self, path)
            self.handles.append(modules[path].register_forward_hook(hook_head, with_kwargs=True))
        if calls is not None:
            self.handles += watch_calls(self.model, calls, self.actor.note_call)
        for prompt in prompting:
            self.handles += prompt.take_out(self.model)
        _forget_compiled()

    def _watch_stream(self, site: Site, modules: dict[str, nn.Module]) -> None:
        if site.stream_module is None:
            raise SiteError(
                f"site {site.name!r} does not say where the residual stream can be read; give "
                "stream_module, or a method that reads only 'x'."
            )
        module = _module(modules, site.stream_module, site)
        if site.stream_point == "in":
            before = _StreamInHook(self, site.name)
            self.handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        else:
            after = _StreamOutHook(self, site.name)
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


def _module(modules: dict[str, nn.Module], path: str, site: Site) -> nn.Module:
    if path not in modules:
        raise SiteError(f"site {site.name!r}: this model has no module {path!r}.")
    return modules[path]


def _forget_compiled() -> None:
    """Drop compiled code, because `torch.compile` does not notice that hooks have changed."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


@final
class _Form:
    """The shape in which methods see a site's tensors: batch first, channels last.

    Args:
        site: The site.
        base: The shape of `x` in the base.
        outer: Batch and positions, where the base has flattened them into one.
    """

    def __init__(self, site: Site, base: torch.Size, outer: torch.Size | None = None) -> None:
        self.channel_dim, self.base, self.outer = site.channel_dim, base, outer

    def given(self, tensor: Tensor) -> Tensor:
        """Turn a tensor of the base (`x`, or the stream in any view) into the methods' form."""
        if self.outer is not None:
            return tensor.reshape(*self.outer, tensor.shape[-1])
        return tensor.reshape(self.base).movedim(self.channel_dim, -1)

    def back(self, tensor: Tensor) -> Tensor:
        """Turn a method's tensor into the form that the base uses for `x`."""
        if self.outer is not None:
            return tensor.reshape(self.base)
        return tensor.movedim(-1, self.channel_dim)


@final
class _Reader:
    """Gives the tensors of one site in one forward pass."""

    def __init__(
        self,
        site: Site,
        x: Tensor,
        form: _Form,
        *,
        stream: Tensor | None = None,
        norm: nn.Module | None = None,
        linear_input: Tensor | None = None,
    ) -> None:
        self.site, self.x, self.form, self.norm = site, x, form, norm
        self.stream, self.linear_input = stream, linear_input

    def __call__(self, name: str, changed: Tensor | None = None) -> Tensor:
        x = self.x if changed is None else self.form.back(changed)
        if name == "x":
            return self.form.given(x)
        if name == "in" and self.linear_input is not None:
            return self.linear_input
        if self.stream is None:
            raise SiteError(f"{name!r} cannot be read at site {self.site.name!r}.")
        stream = self.stream.reshape(x.shape)
        if name == "r":
            return self.form.given(stream)
        total = stream + x * self.site.scale
        if name == "norm(x+r)" and self.norm is not None:
            total = self.norm.forward(total)  # `forward`: the norm's own hooks are not meant
        return self.form.given(total)


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
        for site in self.sites:
            form = _Form(site, x.shape, local.shapes.pop(site.name, None))
            reader = _Reader(
                site,
                new,
                form,
                stream=local.streams.pop(site.name, None),
                norm=self.norms.get(site.name),
                linear_input=first_float_argument(args, kwargs) if site.is_linear else None,
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
            form = _Form(site, x.shape)
            new = _acted(self.hooks.actor, site, new, form, _Reader(site, new, form))
        return None if new is x else replace_first_argument(args, kwargs, new)


def _acted(actor: Actor, site: Site, x: Tensor, form: _Form, reader: _Reader) -> Tensor:
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

    def __init__(self, hooks: SiteHooks, site: str) -> None:
        self.hooks, self.site = hooks, site

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.hooks.actor.wants_stream(self.site):
            stream = first_float_argument(args, kwargs)
            if stream is not None:
                self.hooks.local.streams[self.site] = stream


@final
class _StreamOutHook:
    """Keeps the residual stream where it leaves a module."""

    def __init__(self, hooks: SiteHooks, site: str) -> None:
        self.hooks, self.site = hooks, site

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.hooks.actor.wants_stream(self.site):
            stream = first_float(output)
            if stream is not None:
                self.hooks.local.streams[self.site] = stream


@final
class _HeadHook:
    """Puts the active adapter's head in the place of the model's own."""

    def __init__(self, hooks: SiteHooks, path: str) -> None:
        self.hooks, self.path = hooks, path

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        return self.hooks.actor.act_as_head(self.path, args, kwargs)
