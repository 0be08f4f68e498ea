"""Find every place of a Transformer where an adapter can act, by listening to one forward pass."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, final

import torch
from torch import nn

from inlay.errors import SiteError
from inlay.sites.additions import Addition, Explanation, Norm, explain
from inlay.sites.ends import end_sites
from inlay.sites.example import example_inputs
from inlay.sites.kinds import classify
from inlay.sites.linear_maps import LinearMap, convolutions, linear_maps
from inlay.sites.listen import Event, Recording, Window, candidate_blocks, listen
from inlay.sites.outer_maps import outer_maps
from inlay.sites.sitemap import NormPlacement, Site, SiteMap


def probe(model: nn.Module, example: Mapping[str, Any] | tuple[Any, ...] | None = None) -> SiteMap:
    """Find the sites of any Transformer without knowing its architecture.

    Runs one forward pass in evaluation mode and solves, in each block, which tensors are
    `r + s * x` with `r` the residual stream and `x` the output of a module. Weights, modes and
    hooks are left as they were.

    Args:
        model: A Hugging Face model, or any `nn.Module` if an example is given.
        example: Keyword or positional arguments for one forward pass, at least 5 positions long
            and with no two positions alike. Made from the model's config if not given.

    Raises:
        SiteError: If no example can be made, the forward pass fails, or no block can be
            explained; the message says how to name sites by hand.
    """
    inputs = example_inputs(model) if example is None else example
    finder = _Finder(model)
    state = torch.random.get_rng_state()
    try:
        recording = listen(model, inputs, finder.take)
    except Exception as error:
        if finder.is_explaining:
            raise  # the model's forward pass is not to blame
        raise SiteError(
            f"{type(model).__name__}: the forward pass on "
            f"{'the example made from its config' if example is None else 'your example'} failed: "
            f"{type(error).__name__}: {error}. Pass inputs that it takes: "
            "`inlay.attach(model, example={...})`."
        ) from error
    finally:
        torch.random.set_rng_state(state)
    if not finder.blocks:
        raise SiteError(_nothing_found(model, finder.num_windows))
    return finder.site_map(recording, inputs)


def _nothing_found(model: nn.Module, num_windows: int) -> str:
    containers = sorted(set(candidate_blocks(model).values()))
    listed = ", ".join(containers[:6]) or "none"
    return (
        f"{type(model).__name__}: no residual addition was found. Looked at {num_windows} calls of "
        f"elements of these containers: {listed}. Name the sites by hand: "
        "`inlay.attach(model, sites=SiteMap((Site(name='0.ffn', kind='ffn', module='layers.0.mlp', "
        "width=64, block=0, stream_module='layers.0.mlp', stream_point='in'), ...)))`."
    )


@final
class _Block:
    """What is known of one block: its own sites, without submodel and number."""

    def __init__(self, explanation: Explanation, sublayers: list[tuple[Addition, str]]) -> None:
        self.window = explanation.window
        self.explanation = explanation
        self.sublayers = sublayers
        self.causal = False
        self.maps: list[list[LinearMap]] = []


@final
class _Finder:
    """Collects the blocks while the model runs, and names their sites afterwards."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = dict(model.named_modules())
        self.blocks: list[_Block] = []
        self.num_windows = 0
        self.is_explaining = False

    def take(self, window: Window) -> None:
        """Explain one window while its autograd graph is alive."""
        self.num_windows += 1
        self.is_explaining = True
        self.explain(window)
        self.is_explaining = False

    def explain(self, window: Window) -> None:
        """Find a window's additions, their kinds and their linear maps."""
        explanation = explain(window, self.is_norm)
        if explanation is None or not explanation.additions:
            return
        block = _Block(explanation, [])
        start = window.events[0].order
        mixes: list[bool | None] = []
        for addition in sorted(explanation.additions, key=lambda a: _update(a).order):
            end = _update(addition).order
            # A norm on the stream belongs to what follows it, so start where the stream was made.
            first = max(start, addition.stream.order)
            inside = [event for event in window.events if first < event.order <= end]
            found = classify(addition, inside, window.others, self.modules)
            block.sublayers.append((addition, found.kind))
            maps = linear_maps(found.kind, inside, self.modules)
            block.maps.append([*maps, *convolutions(inside, self.modules)])
            mixes.append(found.causal)
            start = end
        block.causal = True in mixes and False not in mixes
        self.blocks.append(block)

    def is_norm(self, before: Event, after: Event) -> bool:
        """Tell whether a module normalises: blind to the input's size, yet no channel alone."""
        module = self.modules[before.module]
        if any(parameter.ndim > 1 for parameter in module.parameters()):
            return False
        # So large that the small number a norm adds to a variance does not count.
        large = before.value.detach() * 1e3
        uneven = large.clone()
        uneven[..., : large.shape[-1] // 2] *= 3
        try:
            with torch.no_grad():
                once, twice, other = (module.forward(x) for x in (large, large * 2, uneven))
        except Exception:  # a module that takes more than one tensor is no norm
            return False
        if not isinstance(once, torch.Tensor) or once.shape != after.value.shape:
            return False
        size = once.abs().max().clamp_min(1e-12) * 0.01
        untouched = slice(large.shape[-1] // 2, None)
        return bool(
            (once - twice).abs().max() < size and (once - other)[..., untouched].abs().max() > size
        )

    def site_map(
        self, recording: Recording, inputs: Mapping[str, Any] | tuple[Any, ...]
    ) -> SiteMap:
        """Name the sites of all blocks and of the two ends."""
        self.blocks.sort(key=lambda block: recording.order_of_block[block.window.block])
        submodels = _submodels([block.window.container for block in self.blocks])
        numbers: Counter[str] = Counter()
        sites: list[Site] = []
        first: dict[str, Window] = {}
        last: dict[str, _Block] = {}
        for block in self.blocks:
            submodel = submodels[block.window.container]
            sites += self.block_sites(block, submodel, numbers[submodel], recording)
            numbers[submodel] += 1
            first.setdefault(submodel, block.window)
            last[submodel] = block
        ends = end_sites(
            recording,
            inputs,
            first,
            {name: block.window for name, block in last.items()},
            self.is_norm,
        )
        starts = {name: window.order for name, window in first.items()}
        outer = outer_maps(recording, self.model, self.modules, starts)
        unexplained = tuple(b.window.block for b in self.blocks if not b.explanation.is_complete)
        return SiteMap((*_in_order(sites, ends), *outer), unexplained)

    def block_sites(
        self, block: _Block, submodel: str, number: int, recording: Recording
    ) -> list[Site]:
        """Make the sites of one block: sublayers, their linear maps, the block as a whole."""
        prefix = f"{submodel}.{number}" if submodel else str(number)
        name = _Names(prefix)
        channel_dim = self.channel_dim(block)
        common: dict[str, Any] = {
            "submodel": submodel,
            "block": number,
            "causal": block.causal,
            "calls": recording.calls[block.window.block],
        }
        width = block.explanation.shape[channel_dim]
        modules = [_hookable(addition, block.window) for addition, _ in block.sublayers]
        sites = []
        for (addition, kind), maps in zip(block.sublayers, block.maps, strict=True):
            norm, norm_module = _norm_placement(addition, block.explanation)
            stream_point, stream_module = _stream(addition, block.window)
            sublayer = name(kind)
            shape = block.explanation.shape
            is_flat = _update(addition).tensor.ndim < len(shape)
            sites.append(
                Site(
                    shape_module=_keeps_shape(block.window, shape) if is_flat else None,
                    name=sublayer, kind=kind, sublayer=kind, width=width, channel_dim=channel_dim,
                    module=_hookable(addition, block.window), scale=addition.scale, norm=norm,
                    norm_module=norm_module, stream_module=stream_module,
                    stream_point=stream_point,
                    takes_turns=modules.count(_hookable(addition, block.window)) > 1, **common,
                )
            )  # fmt: skip
            roles = _Names(sublayer)
            sites += [
                Site(
                    name=roles(found.role), kind=found.role, sublayer=kind, module=found.module,
                    width=found.out_width, in_width=found.in_width,
                    channel_dim=found.channel_dim, **common,
                )
                for found in maps
            ]  # fmt: skip
        sites.append(
            Site(
                name=name("block"), kind="block", module=block.window.block, width=width,
                channel_dim=channel_dim, stream_module=block.window.block, stream_point="in",
                **common,
            )
        )  # fmt: skip
        return sites

    def channel_dim(self, block: _Block) -> int:
        """Return 1 if a convolution reads the stream itself, which is then channels-first."""
        shape = block.explanation.shape
        if len(shape) < 4:
            return -1
        for event in block.window.events:
            channels = getattr(self.modules[event.module], "in_channels", None)
            if event.point == "in" and event.tensor.shape == shape and channels == shape[1]:
                return 1
        return -1


@final
class _Names:
    """Give each site of a block its name; a kind that occurs again gets a number from 2."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.seen: Counter[str] = Counter()

    def __call__(self, kind: str) -> str:
        self.seen[kind] += 1
        count = self.seen[kind]
        return f"{self.prefix}.{kind}" + (str(count) if count > 1 else "")


def _update(addition: Addition) -> Event:
    return addition.update.outputs(addition.total.order)[-1]


def _hookable(addition: Addition, window: Window) -> str:
    """Return the last module that gave the update, preferring one that ran only once."""
    calls = Counter(event.module for event in window.events if event.point == "out")
    outputs = addition.update.outputs(addition.total.order)
    once = [event for event in outputs if calls[event.module] == 1]
    return (once or outputs)[-1].module


def _stream(addition: Addition, window: Window) -> tuple[Literal["in", "out"], str]:
    """Return where the stream can be read before the update exists."""
    end = _update(addition).order
    calls = Counter((event.module, event.point) for event in window.events)
    events = [event for event in addition.stream.events if event.order < end]
    once = [event for event in events if calls[event.module, event.point] == 1] or events
    # Checkpointing may run a block's `forward` again without the block's own hooks.
    inside = [event for event in once if event.module != window.block] or once
    return inside[0].point, inside[0].module


def _keeps_shape(window: Window, shape: torch.Size) -> str:
    """Return the first module inside the block that is given the stream in its full shape."""
    for event in window.events:
        if event.point == "in" and event.module != window.block and event.tensor.shape == shape:
            return event.module
    return window.block


def _norm_placement(
    addition: Addition, explanation: Explanation
) -> tuple[NormPlacement, str | None]:
    """Say where the block puts its norms around one sublayer."""
    streams = [id(other.stream) for other in explanation.additions]
    output = explanation.window.events[-1]

    def is_handed_on(norm: Norm) -> bool:
        return id(norm.result) in streams or output in norm.result.events

    after = [n for n in explanation.norms if n.source is addition.total and is_handed_on(n)]
    if after:
        return "post", after[0].module
    on_input = any(norm.source is addition.stream for norm in explanation.norms)
    on_output = any(norm.result is addition.update for norm in explanation.norms)
    if on_output:
        return ("sandwich" if on_input else "res-post"), None
    return ("pre" if on_input else "none"), None


def _submodels(containers: list[str]) -> dict[str, str]:
    """Name the stacks of blocks by the part of their paths that tells them apart."""
    stacks = {path: tuple(re.sub(r"(^|\.)\d+(?=\.|$)", "", path).split(".")) for path in containers}
    distinct = list(dict.fromkeys(stacks.values()))
    if len(distinct) == 1:
        return dict.fromkeys(containers, "")
    names = {}
    for stack in distinct:
        others = [other for other in distinct if other != stack]
        part = next(
            (p for i, p in enumerate(stack) if all(p not in other[i : i + 1] for other in others)),
            ".".join(stack),
        )
        names[stack] = part
    if len(set(names.values())) < len(names):
        names = {stack: "/".join(stack) for stack in distinct}
    return {path: names[stack] for path, stack in stacks.items()}


def _in_order(sites: list[Site], ends: list[Site]) -> list[Site]:
    """Put each submodel's embedding before and its output behind its blocks."""
    ordered = []
    for submodel in dict.fromkeys(site.submodel for site in sites):
        own = [end for end in ends if end.submodel == submodel]
        ordered += [end for end in own if end.kind in ("embedding", "start")]
        ordered += [site for site in sites if site.submodel == submodel]
        ordered += [end for end in own if end.kind == "output"]
    return ordered
