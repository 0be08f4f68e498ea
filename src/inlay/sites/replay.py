"""Let the lowest blocks of a model return what they computed before, instead of computing again.

Only the blocks are passed over, and what stands in front of the first adapter in the next one:
masks, positions, the head and all else in the model's own `forward` run as always, so no model
needs code of its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, final

from torch import Tensor, nn

from inlay.errors import SiteError
from inlay.sites.lead_in import Sublayer, holds, lead_in
from inlay.sites.sitemap import SiteMap
from inlay.sites.tensors import first_float, first_float_argument, replace_first_float


@final
@dataclass(frozen=True, slots=True)
class Trunk:
    """The lowest blocks of one submodel, whose output no adapter changes."""

    submodel: str
    blocks: tuple[str, ...]
    """Paths of the modules, in the order in which they run."""
    kept: tuple[str, ...]
    """Those whose output is needed later: the last one, and each that an adapter reads."""
    lead_in: tuple[Sublayer, ...] = ()
    """What runs unchanged in the block behind them."""

    @property
    def states(self) -> tuple[str, ...]:
        """Paths of all modules whose output is kept."""
        return (*self.kept, *(sublayer.kept for sublayer in self.lead_in))

    @property
    def modules(self) -> tuple[str, ...]:
        """Paths of all modules that are passed over."""
        return (*self.blocks, *(path for one in self.lead_in for path in one.modules))


def trunks(
    sites: SiteMap,
    acting: Iterable[str],
    reading: Iterable[str] = (),
    within: Iterable[str] = (),
) -> list[Trunk]:
    """Find the blocks below the first at which anything acts, submodel by submodel.

    A submodel with an adapter at its embedding has none, nor has one whose block is shared by
    depth. What runs later may read what an earlier submodel gives, which only matters to the
    later one if an adapter acts in the earlier.

    Args:
        sites: The model's sites.
        acting: Names of the sites at which adapters change something.
        reading: Names of the sites at which they only read.
        within: Those of `acting` where the sublayer itself computes something else.
    """
    found: list[Trunk] = []
    acting, reading, within = set(acting), set(reading), set(within)
    touched = acting | reading
    is_changed = False
    for submodel in sites.submodels():
        own = [site for site in sites if site.submodel == submodel]
        changed = [site for site in own if site.name in acting]
        blocks = [site for site in own if site.kind == "block"]
        changed_here = [s for s in changed if s.kind not in ("output", "lm_head")]
        foreign = [s.module for s in sites if s.name in touched and s.submodel != submodel]
        nested = [  # blocks with a stack of their own inside
            number for number, block in enumerate(blocks)
            if any(holds(block.module, module) for module in foreign)
        ]  # fmt: skip
        depth = min(
            [len(blocks), *nested, *(0 if s.block is None else s.block for s in changed_here)]
        )
        if depth and not is_changed and all(site.calls == 1 for site in blocks):
            lowest = blocks[:depth]
            kept = tuple(s.module for s in lowest[:-1] if s.name in reading)
            paths = tuple(site.module for site in lowest)
            behind = [site for site in own if site.block == depth]
            lead = () if depth in nested else lead_in(behind, touched, within)
            found.append(Trunk(submodel, paths, (*kept, paths[-1]), lead))
        is_changed = is_changed or bool(changed)
    return found


@final
class Replay:
    """Passes over blocks of a model.

    Args:
        model: The base.
        trunks: Its lowest blocks.
    """

    def __init__(self, model: nn.Module, trunks: Sequence[Trunk]) -> None:
        self.trunks = tuple(trunks)
        self.blocks = {path for trunk in trunks for path in trunk.blocks}
        self.passed = {path for trunk in trunks for path in trunk.modules}
        """Modules that are passed over."""
        self.modules = {path: model.get_submodule(path) for path in self.passed}
        """These, and those that are only recorded, for others."""
        self.kept = {path for trunk in trunks for path in trunk.states}
        """Modules whose output is recorded."""
        self.forms: dict[str, _Form | None] = {}
        """How each module's output is made; filled by the first recording."""
        self.recorded: dict[str, Tensor] | None = None
        self.replayed: Mapping[str, Tensor] | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the blocks ask, at each call, whether to compute; not for several threads."""
        before = {path: vars(module).get("forward") for path, module in self.modules.items()}
        for path, module in self.modules.items():
            module.forward = _Forward(self, path, module.forward)
        try:
            yield
        finally:
            for path, module in self.modules.items():
                if before[path] is None:
                    del module.forward
                else:
                    module.__dict__["forward"] = before[path]

    def record(self, states: Mapping[str, Tensor] | None = None) -> None:
        """Keep what the blocks compute from here on, in `recorded`: path -> hidden state.

        Args:
            states: What is handed on in place of what is computed, see `replay`.
        """
        self.recorded, self.replayed = {}, states

    def replay(self, states: Mapping[str, Tensor]) -> None:
        """Give these hidden states from here on.

        Args:
            states: Path -> what that block returned, for all that are kept.
        """
        self.recorded, self.replayed = None, states

    def stop(self) -> None:
        """Compute as always from here on."""
        self.recorded = self.replayed = None

    def shorten(
        self, recorded: Mapping[str, Tensor], forms: "Mapping[str, _Form | None]"
    ) -> list[int]:
        """Compute what runs in front of the first adapter after all, where it cannot be kept.

        Its states must be like those of a block, row by row.

        Args:
            recorded: What a first recording gave.
            forms: What that found of how outputs are made.

        Returns:
            Numbers of the trunks where this was so.
        """
        shorter = tuple(_shortened(trunk, recorded, forms) for trunk in self.trunks)
        pairs = zip(self.trunks, shorter, strict=True)
        changed = [number for number, (old, new) in enumerate(pairs) if old != new]
        self.trunks = shorter
        self.passed = {path for trunk in shorter for path in trunk.modules}
        return changed

    def check(self) -> None:
        """Refuse a model whose blocks do more than hand a hidden state on.

        Call it after a first recording.

        Raises:
            SiteError: If a block gives something besides that later ones need, which only its
                own computation can make; the first blocks may, as they are run.
        """
        for trunk in self.trunks:
            computed = [self.forms.get(path) is None for path in trunk.blocks]
            last = max((i for i, flag in enumerate(computed) if flag), default=-1)
            if not all(computed[: last + 1]):
                path = trunk.blocks[last]
                raise SiteError(
                    f"block {path!r} returns more than its hidden state and what it was given, "
                    "so it cannot be passed over."
                )


@final
@dataclass(frozen=True, slots=True)
class _Form:
    """What a block returns, with its hidden state and its own arguments left open."""

    template: Any
    from_arguments: Mapping[int, str | int] = field(default_factory=dict)
    """Item of the output -> the argument that it is, by name or place."""
    width: int | None = None
    """Of the zeros that stand for the hidden state, if that is not the one it was given."""

    def fill(self, hidden: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return an output with this hidden state."""
        if isinstance(self.template, Tensor):
            return hidden
        items = list(self.template)
        for index, key in self.from_arguments.items():
            items[index] = kwargs[key] if isinstance(key, str) else args[key]
        return replace_first_float(type(self.template)(items), hidden)


def _shortened(
    trunk: Trunk, recorded: Mapping[str, Tensor], forms: Mapping[str, _Form | None]
) -> Trunk:
    """Return a trunk with no more of its lead-in than can be kept."""
    like = recorded.get(trunk.kept[-1])
    if like is None:
        return trunk
    can_pass = [_can_pass(sublayer, recorded, like, forms) for sublayer in trunk.lead_in]
    number = can_pass.index(False) if False in can_pass else len(can_pass)
    return replace(trunk, lead_in=trunk.lead_in[:number])


def _can_pass(
    sublayer: Sublayer,
    recorded: Mapping[str, Tensor],
    like: Tensor,
    forms: Mapping[str, _Form | None],
) -> bool:
    """Tell whether a sublayer gives a state as a block does, and no map need run for it."""
    state = recorded.get(sublayer.kept)
    formed = [path for path in sublayer.modules if forms.get(path) is not None]
    return (
        state is not None
        and (state.shape, state.dtype) == (like.shape, like.dtype)
        and all(any(holds(path, one) for path in formed) for one in sublayer.maps)
    )


def _form_of(
    output: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, gives_zeros: bool
) -> _Form | None:
    """Return how an output is made from a hidden state and arguments; `None` if that is not all."""
    hidden, before = first_float(output), first_float_argument(args, kwargs)
    if hidden is None or before is None:
        return None
    width = hidden.shape[-1] if gives_zeros else None
    if hidden.shape != (before.shape if width is None else (*before.shape[:-1], width)):
        return None
    if output is hidden:
        return _Form(hidden.new_empty(0), width=width)
    if type(output) not in (tuple, list):
        return None
    given: dict[int, str | int] = {id(value): key for key, value in kwargs.items()}
    given |= {id(value): place for place, value in enumerate(args)}
    items: list[Any] = []
    from_arguments: dict[int, str | int] = {}
    for index, item in enumerate(output):
        if item is hidden:
            items.append(hidden.new_empty(0))
        elif item is None or isinstance(item, bool | int | float | str):
            items.append(item)
        elif id(item) in given:
            items.append(None)
            from_arguments[index] = given[id(item)]
        else:
            return None
    return _Form(type(output)(items), from_arguments, width)


@final
class _Forward:
    """Stands in for a block's `forward`."""

    def __init__(self, replay: Replay, path: str, original: Any) -> None:
        self.replay, self.path, self.original = replay, path, original

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute, keep what was computed, or give what was kept."""
        replay, path = self.replay, self.path
        kept = None if replay.replayed is None else replay.replayed.get(path)
        if kept is not None:
            kept = kept.clone()  # what comes next may work in place
        if replay.replayed is not None and replay.recorded is None:
            return self._again(kept, args, kwargs)
        output = self.original(*args, **kwargs)
        if replay.recorded is not None:
            if path not in replay.forms:
                replay.forms[path] = _form_of(
                    output, args, kwargs, gives_zeros=path not in replay.blocks
                )
            hidden = first_float(output)
            if path in replay.kept and hidden is not None:
                replay.recorded[path] = hidden.detach().clone()
        return output if kept is None else replace_first_float(output, kept)

    def _again(self, kept: Tensor | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        form = self.replay.forms.get(self.path)
        if form is None or self.path not in self.replay.passed:
            output = self.original(*args, **kwargs)
            return output if kept is None else replace_first_float(output, kept)
        hidden = first_float_argument(args, kwargs) if kept is None else kept
        if hidden is None:
            raise SiteError(f"block {self.path!r} was called without a hidden state.")
        if kept is None and form.width is not None:
            hidden = hidden.new_zeros((*hidden.shape[:-1], form.width))
        return form.fill(hidden, args, kwargs)
