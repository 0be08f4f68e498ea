"""A side network that climbs along the frozen blocks and never changes them (Sung 2022)."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.activation import ACTIVATIONS
from inlay.methods.base import (
    AbstractAdapterLayer,
    AbstractLayer,
    AbstractSiteMethod,
    Place,
    add,
    check_at_least,
    check_choice,
    check_fraction,
)

_TEMPERATURE = 0.1
"""Of the gates between rungs, as in the paper."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Side(AbstractSiteMethod):
    """Climb a ladder beside the base and add what comes out to the last hidden state.

    Sung et al. 2022 (arXiv:2206.06522), section 3.2. At each block a thin stream `s` takes in
    the block's output `h` and passes a small network of its own:
    `s <- m * s + (1 - m) * (W_down h + b)`, `s <- s + MLP(norm(s))`, with a learned gate
    `m = sigmoid(a / 0.1)`. At the end `h' = h + c * (W_up s + b)`, with `c` learned from 0, so
    that a new adapter changes nothing. The base is read without gradient: training runs no
    backward pass through it.

    Where the paper's side blocks are small Transformer blocks, these do not look at other
    positions, so padding and key-value caches need no care; what they read has seen them.

    Parameters with a side width `d`, blocks of width `w` and an output of width `v`: `w * d + d`
    for each place that is read, for each block `2 * e * d * d + e * d + d + 2 * d` with `e` the
    expansion and 1 for a gate, and `d * v + v + 1` at the output. Where no embedding is read, the
    first block has no gate.

    Args:
        reduction: The side width is the output's width divided by this, at least 1.
        expansion: Inner width of a side block, in side widths.
        activation: One of `inlay.methods.activation.ACTIVATIONS`.
        dropout: Fraction of the inner channels zeroed in training, in [0, 1).

    Raises:
        ConfigError: If a value is not allowed.
    """

    name: ClassVar[str] = "side"
    default_at: ClassVar[str] = "embedding, block, output"
    kinds: ClassVar[frozenset[str]] = frozenset({"embedding", "block", "output"})

    reduction: float = 8
    expansion: int = 2
    activation: str = "gelu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_choice("Side", "activation", self.activation, tuple(ACTIVATIONS))
        check_at_least("Side", "expansion", self.expansion, 1)
        check_fraction("Side", "dropout", self.dropout)
        if self.reduction <= 0:
            raise ConfigError(f"Side(reduction={self.reduction!r}): must be above 0.")

    @override
    def build(self, place: Place) -> AbstractLayer:
        raise ConfigError(
            f"Side: a ladder has several places; it cannot be built for {place.kind!r} alone."
        )

    @override
    def build_all(self, places: Mapping[str, Place]) -> dict[str, AbstractLayer]:
        """Build a ladder for each submodel.

        Raises:
            ConfigError: If a submodel has no block or no output, or its blocks differ in width.
        """
        layers: dict[str, AbstractLayer] = {}
        for submodel in dict.fromkeys(place.submodel for place in places.values()):
            own = {name: p for name, p in places.items() if p.submodel == submodel}
            layers |= self._ladder(own, submodel)
        return {name: layers[name] for name in places}

    def _ladder(self, places: Mapping[str, Place], submodel: str) -> dict[str, AbstractLayer]:
        where = f" of {submodel!r}" if submodel else ""
        blocks = {name: p for name, p in places.items() if p.kind == "block"}
        top = next((name for name, p in places.items() if p.kind == "output"), None)
        if top is None or not blocks:
            raise ConfigError(
                f"Side reads blocks{where} and adds to its output: at='block, output', with or "
                "without the embedding."
            )
        widths = sorted({place.width for place in blocks.values()})
        if len(widths) > 1:
            raise ConfigError(
                f"Side: the blocks{where} have widths {', '.join(map(str, widths))}; a ladder "
                "needs blocks of one width. Use another method, such as bottleneck or lora."
            )
        width = max(1, round(places[top].width / self.reduction))
        rungs: dict[str, Rung] = {}
        for name, place in places.items():
            if name != top:
                block = SideBlock(self, width) if place.kind == "block" else None
                is_gated = block is not None and bool(rungs)
                rungs[name] = Rung(place.width, width, block, is_gated=is_gated)
        return {**rungs, top: Top(list(rungs.values()), width, places[top].width)}


@final
class _Seen(threading.local):
    """What a rung has read in this thread's forward pass, by the turns of its adapter."""

    def __init__(self) -> None:
        self.hidden: dict[int, Tensor] = {}
        self.turn = 0

    def __reduce__(self) -> tuple[type["_Seen"], tuple[()]]:
        return _Seen, ()


@final
class SideBlock(nn.Module):
    """A small network with a residual connection: `s + MLP(norm(s))`."""

    def __init__(self, method: Side, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width * method.expansion)
        self.activation = ACTIVATIONS[method.activation]()
        self.dropout = nn.Dropout(method.dropout)
        self.down = nn.Linear(width * method.expansion, width)

    @override
    def forward(self, s: Tensor) -> Tensor:
        update: Tensor = self.down(self.dropout(self.activation(self.up(self.norm(s)))))
        return s + update


@final
class Rung(AbstractAdapterLayer):
    """Reads one place of the base; the top of the ladder asks for what it makes of it."""

    only_reads: ClassVar[bool] = True
    takes_turns: ClassVar[bool] = True

    def __init__(
        self, width: int, side_width: int, block: SideBlock | None, *, is_gated: bool
    ) -> None:
        super().__init__()
        self.reads = "x"
        self.take_in = nn.Linear(width, side_width)
        self.gate = nn.Parameter(torch.zeros(1)) if is_gated else None
        self.block = block
        self.seen = _Seen()

    @override
    def take_turn(self, turn: int) -> None:
        self.seen.turn = turn

    @override
    def leave_out(self) -> None:
        self.seen.hidden.clear()  # of a pass that was broken off

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        self.seen.hidden[self.seen.turn] = inputs.detach()
        return outputs

    def climb(self, s: Tensor | None, turn: int) -> Tensor | None:
        """Return the side stream behind this rung, `(batch, positions, side width)`.

        Args:
            s: The stream before it; `None` at the first rung.
            turn: Which turn of the adapter in this forward pass.
        """
        hidden = self.seen.hidden.pop(turn, None)
        if hidden is None:
            return s  # left out in this forward pass
        taken: Tensor = self.take_in(hidden.to(self.take_in.weight.dtype))
        if s is not None and self.gate is not None:
            s = _lengthened(s, taken)
            kept = torch.sigmoid(self.gate / _TEMPERATURE)
            taken = kept * s + (1 - kept) * taken
        return taken if self.block is None else self.block(taken)


@final
class Top(AbstractAdapterLayer):
    """Climbs the ladder, and adds what comes out to the last hidden state."""

    takes_turns: ClassVar[bool] = True

    def __init__(self, rungs: Sequence[Rung], side_width: int, width: int) -> None:
        super().__init__()
        self.reads = "x"
        self._rungs = list(rungs)  # a plain list: each rung's weights belong to its own site
        self.up = nn.Linear(side_width, width)
        self.gate = nn.Parameter(torch.zeros(1))
        self.seen = _Seen()

    @override
    def take_turn(self, turn: int) -> None:
        self.seen.turn = turn

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        s: Tensor | None = None
        for rung in self._rungs:
            s = rung.climb(s, self.seen.turn)
        return outputs if s is None else add(outputs, self.gate * self.up(s))


def _lengthened(s: Tensor, taken: Tensor) -> Tensor:
    """Return a stream with as many positions as the next rung reads.

    Vectors that other rows of the batch have before their words lengthen each row; those without
    get padding behind their words, which the words were read without.
    """
    missing = taken.shape[1] - s.shape[1] if s.ndim == taken.ndim == 3 else 0
    return F.pad(s, (0, 0, 0, missing)) if missing > 0 else s
