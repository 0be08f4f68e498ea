"""Compacter: a bottleneck of Kronecker products that share their small matrices (Mahabadi 2021)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.activation import ACTIVATIONS
from inlay.methods.base import (
    AbstractAdapterLayer,
    AbstractLayer,
    AbstractSiteMethod,
    Grouped,
    Input,
    LowRank,
    Place,
    add,
    check_at_least,
    check_choice,
    check_fraction,
)
from inlay.methods.widths import check_widths, inner_width_at
from inlay.ops.grouped import Slots, grouped_linear
from inlay.ops.phm import phm_linear, phm_weight

Init = Literal["zero", "small"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Compacter(AbstractSiteMethod):
    """Compute `x' = x + W_up g(W_down h + b_down) + b_up` with matrices of very few weights.

    Mahabadi et al. 2021 (arXiv:2106.04647): each matrix is `W = sum_i A_i kron (s_i t_i)`, a
    parameterised hypercomplex multiplication. The `n` matrices `A_i`, `n x n`, are one set for
    all layers of the adapter; `s_i` and `t_i`, of rank `rank`, are each layer's own. The defaults
    are the paper's; Compacter++ is the same behind the feed-forward only.

    Parameters: for each site `2 * rank * (width + d) + d + width` with `d` the inner width, and
    once `n^3`; without `shared_rule`, `2 * n^3` for each site.

    Args:
        reduction: The inner width is `width / reduction`, rounded to a multiple of `n`. A mapping
            gives a value by block, as for `Bottleneck`.
        inner_width: The inner width itself, in channels; instead of `reduction`.
        n: How many matrices `A_i`, and their size; divides the sites' widths.
        rank: Columns of `s_i` and rows of `t_i`.
        shared_rule: Whether the `A_i` are one set for the whole adapter, as in the paper, instead
            of one for each matrix.
        activation: One of `inlay.methods.activation.ACTIVATIONS`.
        input: What the adapter reads: `"x"`, `"r"`, `"x+r"`, or `"norm(x+r)"`.
        dropout: Fraction of the adapter's output zeroed in training, in [0, 1).
        init: `"zero"` starts the `s_i` of the last map at zero, so that a new adapter changes
            nothing; `"small"` draws the `A_i` with deviation 1e-4, as the authors' code, and
            changes the base a little.

    Raises:
        ConfigError: If a value is not allowed, or both widths are given.

    Example:
        >>> layers = Compacter(inner_width=8).build_all({"a": Place(width=16)})
        >>> sum(p.numel() for p in layers["a"].parameters())
        136
    """

    name: ClassVar[str] = "compacter"
    default_at: ClassVar[str] = "attention, ffn"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"attention", "cross_attention", "ffn", "conv", "mixer", "block"}
    )

    reduction: float | Mapping[str, float] = 32
    inner_width: int | None = None
    n: int = 4
    rank: int = 1
    shared_rule: bool = True
    activation: str = "gelu"
    input: Input = "x"
    dropout: float = 0.0
    init: Init = "zero"

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_choice("Compacter", "activation", self.activation, tuple(ACTIVATIONS))
        check_choice("Compacter", "input", self.input, ("x", "r", "x+r", "norm(x+r)"))
        check_choice("Compacter", "init", self.init, get_args(Init))
        check_choice("Compacter", "shared_rule", self.shared_rule, (True, False))
        check_fraction("Compacter", "dropout", self.dropout)
        check_at_least("Compacter", "n", self.n, 1)
        check_at_least("Compacter", "rank", self.rank, 1)
        check_widths("Compacter", self.reduction, self.inner_width, usual=32)

    @override
    def build(self, place: Place) -> AbstractLayer:
        return self.build_all({place.kind: place})[place.kind]

    @override
    def build_all(self, places: Mapping[str, Place]) -> dict[str, AbstractLayer]:
        """Build the layers around one rule, which the first of them owns.

        Raises:
            ConfigError: If `n` does not divide a width.
        """
        self._check_divides(places)
        rule: Rule | None = None
        layers: dict[str, AbstractLayer] = {}
        for name, place in places.items():
            inner_width = inner_width_at(
                "Compacter", self.reduction, self.inner_width, place, multiple=self.n
            )
            layer = CompacterLayer(self, place.width, inner_width, rule)
            rule = layer.rules[0] if self.shared_rule else None
            layers[name] = layer
        return layers

    def _check_divides(self, places: Mapping[str, Place]) -> None:
        widths = {f"{name!r}, which is": place.width for name, place in places.items()}
        if self.inner_width is not None:
            widths = {"the inner width, which is": self.inner_width, **widths}
        common = math.gcd(*widths.values())
        for where, width in widths.items():
            if width % self.n:
                allowed = [str(n) for n in range(1, common + 1) if common % n == 0]
                raise ConfigError(
                    f"Compacter(n={self.n}): {self.n} does not divide {where} {width} wide; n can "
                    f"be {', '.join(allowed)} here. Set n, or choose other places or widths."
                )


@final
class Rule(nn.Module):
    """The matrices `A_i`; a module, so that layers which do not own it can hold it."""

    def __init__(self, n: int, deviation: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, n, n) * deviation)


@final
class PHMLinear(nn.Module):
    """The factors and the bias of one map."""

    def __init__(self, in_width: int, out_width: int, *, n: int, rank: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.empty(n, out_width // n, rank))
        self.right = nn.Parameter(torch.empty(n, rank, in_width // n))
        self.bias = nn.Parameter(torch.zeros(out_width))
        for factors in (self.left, self.right):
            for factor in factors:
                nn.init.xavier_uniform_(factor)

    @override
    def forward(self, x: Tensor, rule: Tensor) -> Tensor:
        return phm_linear(x, rule, self.left, self.right, self.bias)


@final
class CompacterLayer(AbstractAdapterLayer):
    """The trainable layer of `Compacter` at one site.

    Args:
        method: The settings.
        width: Channels of the site.
        inner_width: Channels between the maps.
        rule: That of another layer, which owns it; `None` to make what is needed.
    """

    def __init__(
        self, method: Compacter, width: int, inner_width: int, rule: Rule | None = None
    ) -> None:
        super().__init__()
        self.reads: Input = method.input
        own: list[Rule] = []
        if rule is None:
            # As Zhang et al. 2021 (arXiv:2102.08597): then W has the size of a Glorot matrix.
            deviation = 1e-4 if method.init == "small" else method.n**-0.5
            own = [Rule(method.n, deviation) for _ in range(1 if method.shared_rule else 2)]
        self.own_rules = nn.ModuleList(own)
        # A plain list: a shared rule is among the weights of one layer only, and is saved once.
        self.rules = own if rule is None else [rule]
        self.down = PHMLinear(width, inner_width, n=method.n, rank=method.rank)
        self.activation = ACTIVATIONS[method.activation]()
        self.up = PHMLinear(inner_width, width, n=method.n, rank=method.rank)
        self.dropout = nn.Dropout(method.dropout)
        if method.init == "zero":
            nn.init.zeros_(self.up.left)

    def rule_of(self, end: Literal[0, -1]) -> Tensor:
        """Return the `A_i` of the first map (0) or the last (-1), on this layer's device."""
        return self.rules[end].weight.to(self.up.left.device)

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return what is between the maps, `(..., inner_width)`."""
        down = self.down(inputs.to(self.up.left.dtype), self.rule_of(0))
        hidden: Tensor = self.activation(down)
        return hidden

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        return add(outputs, self.dropout(self.up(self.hidden(inputs), self.rule_of(-1))))

    @override
    def low_rank(self) -> LowRank | None:
        if self.training and self.dropout.p > 0:
            return None
        up = phm_weight(self.rule_of(-1), self.up.left, self.up.right)
        return LowRank(self.hidden, up, self.up.bias)

    @override
    def grouped(self) -> Grouped | None:
        weights = [rule.weight for rule in self.rules]
        for part in (self.down, self.up):
            weights += [part.left, part.right, part.bias]
        key = (
            CompacterLayer, self.reads, repr(self.activation), self.dropout.p, self.training,
            self.up.left.dtype, *(weight.shape for weight in weights),
        )  # fmt: skip
        return Grouped(key, tuple(weights), self._run_grouped)

    def _run_grouped(
        self, weights: tuple[Tensor, ...], slots: Slots, inputs: Tensor, outputs: Tensor
    ) -> Tensor:
        *rules, down_left, down_right, down_bias, up_left, up_right, up_bias = weights
        down = phm_weight(rules[0].to(down_left.device), down_left, down_right)
        hidden = grouped_linear(inputs.to(down.dtype), down, down_bias, slots)
        up = phm_weight(rules[-1].to(up_left.device), up_left, up_right)
        update = grouped_linear(self.activation(hidden), up, up_bias, slots)
        return add(outputs, self.dropout(update))
