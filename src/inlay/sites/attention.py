"""Give an attention further keys and values in front of its own, whatever its model is.

Hugging Face models hand queries, keys and values (rotated, and with those of the cache) to a
function that their config names. While an adapter has keys and values for an attention, that
module's own reference to the config names a function of ours, which puts them in front and calls
the one that was named. Masks, caches and positions are the base's own.
"""

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from inlay.errors import SiteError
from inlay.sites.front_keys import FrontPass, Joined
from inlay.sites.sitemap import Site, SiteMap
from inlay.sites.tensors import first_float_argument

T = TypeVar("T", Tensor, Tensor | None)

_FUNCTIONS = "ALL_ATTENTION_FUNCTIONS"
"""The table of attention functions, as the modules of transformers call it."""

_EAGER = "eager_attention_forward"
"""The plain function, which is not in the table but beside each attention's class."""

_NAME = "inlay_with_prefix"
"""Our function's name in the table."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionPlace:
    """The module that attends, and the channels of its keys and values over all heads."""

    module: str
    key_width: int
    value_width: int


class PrefixSource(Protocol):
    """What has keys and values for an attention."""

    def has_prefix(self, site: str) -> bool:
        """Tell whether there are any for this site in this forward pass."""

    def prefixes(self, site: str, query: Tensor, states: Tensor | None) -> list[FrontPass]:
        """Return keys and values, in the order in which they are put; one pass or several.

        Args:
            site: The attention's site.
            query: Its queries, `(batch, heads, n, d)`.
            states: What the attention is given, `(batch, positions, width)`.
        """


def attention_place(site: Site, sites: SiteMap, model: nn.Module) -> AttentionPlace:
    """Find the module that attends at a site, and the widths of its keys and values.

    Raises:
        SiteError: If the site is no attention, its keys and values are not known, or its module
            does not take its attention function from transformers' table.
    """
    maps = {s.kind: s for s in sites if s.is_linear and s.name.startswith(f"{site.name}.")}
    if {"k", "v"} <= set(maps):
        path, widths = maps["k"].module, (maps["k"].width, maps["v"].width)
    elif "kv" in maps:
        path, widths = maps["kv"].module, (maps["kv"].width // 2,) * 2
    elif "qkv" in maps and "o" in maps and maps["o"].in_width is not None:
        # The queries are as wide as what comes out of the heads.
        path = maps["qkv"].module
        widths = ((maps["qkv"].width - maps["o"].in_width) // 2,) * 2
    else:
        raise SiteError(
            f"site {site.name!r}: keys and values cannot be put in front here, because no linear "
            f"map of keys and values is known; its maps are {', '.join(maps) or 'none'}. Use "
            "another method, such as bottleneck or lora."
        )
    modules = dict(model.named_modules())
    while path:
        path = path.rpartition(".")[0]
        if path in modules and _takes_from_table(modules[path]):
            return AttentionPlace(module=path, key_width=widths[0], value_width=widths[1])
    raise SiteError(
        f"site {site.name!r}: keys and values cannot be put in front here, because "
        f"{type(model).__name__} computes this attention by code of its own and not by one of "
        "transformers' attention functions. Use another method, such as bottleneck or lora."
    )


def _forward(module: nn.Module) -> Any:
    return inspect.unwrap(type(module).forward)


def _takes_from_table(module: nn.Module) -> bool:
    code = getattr(_forward(module), "__code__", None)
    return code is not None and _FUNCTIONS in code.co_names and hasattr(module, "config")


@final
class _Call:
    """Whether the function was called since the module was, and what the module was given."""

    def __init__(self) -> None:
        self.was_called = False
        self.states: Tensor | None = None


@final
class _ThreadState(threading.local):
    """This thread's call, in an object: what compiled code sets here itself is lost."""

    def __init__(self) -> None:
        self.now = _Call()

    def __reduce__(self) -> tuple[type["_ThreadState"], tuple[()]]:
        return _ThreadState, ()


@final
class _TappedConfig:
    """A module's config that names our attention function while there is a prefix.

    Everything else is the config's own, also what changes in it later.
    """

    def __init__(
        self, config: Any, site: str, source: PrefixSource, bias: nn.Module | None = None
    ) -> None:
        self.own_config, self.site, self.source = config, site, source
        self.bias = bias
        self.local = _ThreadState()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "own_config":
            raise AttributeError(name)  # a copy that is being made has no config yet
        return getattr(self.own_config, name)

    @property
    def _attn_implementation(self) -> Any:
        if self.source.has_prefix(self.site):
            return _NAME
        return self.own_config._attn_implementation

    def function(self, module: nn.Module) -> Callable[..., Any]:
        """Return the attention function that the base would have called."""
        name, scope = self.own_config._attn_implementation, _forward(module).__globals__
        if name == "eager" and _EAGER in scope:
            return scope[_EAGER]  # type: ignore[no-any-return]
        if name == "sdpa":
            return scope[_FUNCTIONS]["sdpa"]  # type: ignore[no-any-return]
        raise SiteError(
            f"site {self.site!r}: keys and values can be put in front of attention 'sdpa' or "
            f"'eager', but this model runs {name!r}; call model.set_attn_implementation('sdpa')."
        )


def _tapped(module: nn.Module) -> _TappedConfig | None:
    config = module.__dict__.get("config")
    return config if isinstance(config, _TappedConfig) else None


@final
class _Note:
    """Keeps what an attention is given, while there is a prefix."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tapped = _tapped(module)
        if tapped is not None and tapped.source.has_prefix(tapped.site):
            tapped.local.now.states = first_float_argument(args, kwargs)


@final
class _Check:
    """Refuses to go on if an attention did not call our function though it should have."""

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        tapped = _tapped(module)
        if tapped is None:
            return
        call = tapped.local.now
        was_called, call.was_called, call.states = call.was_called, False, None
        if tapped.source.has_prefix(tapped.site) and not was_called:
            raise SiteError(
                f"site {tapped.site!r}: {type(module).__name__} took another way than "
                "transformers' attention functions, so the adapter's keys and values were not "
                "seen; call it without what makes it do so, or use another method."
            )


def relative_bias(model: nn.Module, path: str) -> nn.Module | None:
    """Find the module whose weights say how an attention weighs by distance, if there is one.

    Such an attention hands on what the first one of its stack has computed; an attention to
    another sequence, which weighs all distances alike, is of the same class but has another name.
    """
    name = path.rpartition(".")[2]
    while path:
        path = path.rpartition(".")[0]
        for inner, module in model.get_submodule(path).named_modules():
            is_same = inner.rpartition(".")[2] == name
            if is_same and getattr(module, "has_relative_attention_bias", False):
                return module if hasattr(module, "compute_bias") else None
    return None


def tap(
    module: nn.Module, site: str, source: PrefixSource, bias: nn.Module | None = None
) -> list[RemovableHandle]:
    """Make a module ask for keys and values at each call; `untap` is the way back.

    Args:
        module: The module that attends.
        site: The name of its site.
        source: What has keys and values.
        bias: What `relative_bias` found for it.
    """
    table = _forward(module).__globals__[_FUNCTIONS]
    type(table).register(_NAME, _attend)
    # Past `__setattr__`, which would look for parameters in it.
    module.__dict__["config"] = _TappedConfig(module.config, site, source, bias)
    note = module.register_forward_pre_hook(_Note(), with_kwargs=True)
    return [note, module.register_forward_hook(_Check())]


def untap(module: nn.Module) -> None:
    """Give a module its own config back."""
    tapped = _tapped(module)
    if tapped is not None:
        module.__dict__["config"] = tapped.own_config


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend to the adapters' keys and values and to the base's; shapes `(batch, heads, n, d)`."""
    tapped = _tapped(module)
    if tapped is None:
        raise SiteError(f"{type(module).__name__}: no adapter is here; detach and attach again.")
    tapped.local.now.was_called = True
    function = tapped.function(module)
    if settings.get("cache") is not None:
        raise SiteError(f"site {tapped.site!r}: paged caches take no keys and values in front.")
    mask = attention_mask
    if mask is None and tapped.own_config._attn_implementation == "sdpa":
        mask = _implied_mask(module, query, key, settings)
    outputs: list[Tensor] = []
    weights: list[Tensor | None] = []
    passes = tapped.source.prefixes(tapped.site, query, tapped.local.now.states)
    for one in passes:
        joined = Joined(query, key, value, one.fronts, tapped.site)
        own = dict(settings)
        if settings.get("position_bias") is not None:
            own["position_bias"] = _moved_bias(tapped.bias, settings["position_bias"], one)
        output, own_weights = function(
            module, joined.query, joined.keys, joined.values,
            _widened(mask, one, query, key.shape[2], tapped.site), **joined.scaled(own, function),
        )  # fmt: skip
        outputs.append(joined.gated(output))
        weights.append(None if own_weights is None else own_weights[..., one.length :])
    return _averaged(outputs, passes), _averaged(weights, passes)


def _averaged(results: Sequence[T], passes: Sequence[FrontPass]) -> T:
    """Return the average of what several passes gave, `(batch, ...)` each."""
    total = results[0]
    if len(results) == 1 or total is None:
        return total
    exact = torch.promote_types(total.dtype, torch.float32)
    mean = torch.zeros_like(total, dtype=exact)
    for result, one in zip(results, passes, strict=True):
        share = one.share
        if isinstance(share, Tensor):
            share = share.to(exact).view(-1, *[1] * (total.ndim - 1))
        mean = mean + result.to(exact) * share  # type: ignore[union-attr]
    return mean.to(total.dtype)


def _moved_bias(module: nn.Module | None, position_bias: Tensor, one: FrontPass) -> Tensor:
    """Return the bias of all keys by distance, 0 for an adapter's keys that stand nowhere.

    Args:
        module: What computes the bias; `None` if it weighs all distances alike.
        position_bias: Of the base's keys, `(1 or batch, heads, n, m)`.
        one: What is put in front.
    """
    moved = [rows for rows in one.moved if rows.shift or rows.is_counted]
    if module is None or not moved:
        return F.pad(position_bias, (one.length, 0))
    if moved[0].index is None:
        return _counted_bias(module, position_bias, one.length, moved[0].shift)
    batch = sum(len(rows.index) for rows in one.moved if rows.index is not None)
    device, keys = position_bias.device, position_bias.shape[-1]
    bias = F.pad(position_bias, (one.length, 0)).expand(batch, -1, -1, -1)
    seen = one.seen(batch, device)
    for rows in moved:
        if rows.index is None or not len(rows.index):
            continue
        own = _counted_bias(module, position_bias, rows.length, rows.shift)
        front = torch.arange(one.length, device=device)
        if seen is not None:
            front = front[seen[rows.index[0]]]
        places = torch.cat([front, torch.arange(one.length, one.length + keys, device=device)])
        whole = own.new_zeros(*own.shape[:-1], one.length + keys).index_copy(-1, places, own)
        bias = bias.index_copy(0, rows.index, whole.expand(len(rows.index), -1, -1, -1))
    return bias


def _counted_bias(module: Any, position_bias: Tensor, length: int, shift: int) -> Tensor:
    """Return the bias of keys that stand `length` places further back than they do.

    Args:
        module: What computes the bias.
        position_bias: Without the prefix.
        length: Of the prefix.
        shift: How many places further back the queries stand.
    """
    queries, keys = position_bias.shape[-2:]
    whole: Tensor = module.compute_bias(keys + shift, length + keys, device=position_bias.device)
    return whole[:, :, -queries:].to(position_bias.dtype)


def _implied_mask(
    module: nn.Module, query: Tensor, key: Tensor, settings: Mapping[str, Any]
) -> Tensor | None:
    """Write out the causal mask that `sdpa` implies where it is given none."""
    is_causal = settings.get("is_causal")
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)
    if not is_causal or query.shape[2] == 1:
        return None
    mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
    return mask.tril()[None, None]


def _widened(
    mask: Tensor | None, one: FrontPass, query: Tensor, keys: int, site: str
) -> Tensor | None:
    """Let each query see what its row has in front: true, or 0 if the mask is added."""
    seen = one.seen(len(query), query.device)
    if mask is None:
        if seen is None:
            return None
        mask = query.new_zeros(1, 1, 1, keys)
    if not isinstance(mask, Tensor) or mask.ndim != 4 or mask.shape[-1] < keys:
        raise SiteError(
            f"site {site!r}: keys and values cannot be put in front under this attention mask; "
            "call the model with a mask (batch, positions)."
        )
    is_added, own = mask.is_floating_point(), mask[..., :keys]
    if seen is None:
        return F.pad(own, (one.length, 0), value=0.0 if is_added else True)
    front = seen[:, None, None]
    if is_added:
        hidden = torch.zeros_like(front, dtype=mask.dtype)
        front = hidden.masked_fill(~front, torch.finfo(mask.dtype).min)
    shape = (len(query), *mask.shape[1:3], -1)
    return torch.cat([front.expand(shape), own.expand(shape)], dim=-1)
