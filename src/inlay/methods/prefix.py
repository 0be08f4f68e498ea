"""Prefix tuning: trained keys and values in front of every attention's own (Li and Liang 2021)."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.activation import ACTIVATIONS
from inlay.methods.base import (
    AbstractAttentionLayer,
    AbstractLayer,
    AbstractSiteMethod,
    Place,
    check_at_least,
    check_choice,
    check_fraction,
)
from inlay.methods.input_gate import Gating, InputGate, check_gating, made_gate

_DEVIATION = 0.02
"""Of the weights at the start, as in pretrained models."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Prefix(AbstractSiteMethod):
    """Let every query see `length` trained keys and values before those of the text.

    Li and Liang 2021 (arXiv:2101.00190), section 4.2 and 4.3. The prefix is put in front of the
    keys as the attention compares them (rotated, normed, with those of the cache), takes up no
    position unless asked to, and is seen from every position. A new prefix changes the base's
    outputs a little, as it takes a share of the attention.

    Parameters, with `k` channels of keys and `v` of values at an attention: `length * (k + v)` for
    each without an inner width. With one, all attentions of a kind in a submodel of width `w`
    share `length * w` inputs and a network `w -> inner_width -> sum of (k + v)`:
    `length * w + (w + 1) * inner_width + (inner_width + 1) * sum(k + v)`. Gates have
    `gates * (w + 1)` at each attention.

    Args:
        length: Keys and values in front, at least 1.
        inner_width: Inner channels of the network that gives keys and values while they are
            trained (the paper's reparametrisation, which steadies training); `fold` leaves only
            what it gives. `None` trains keys and values themselves.
        activation: One of `inlay.methods.activation.ACTIVATIONS`; with an inner width.
        dropout: Fraction of keys and values zeroed in training, in [0, 1).
        takes_positions: Whether the words stand `length` positions further back, as they do
            behind a prefix in a key-value cache; so it is in PEFT and in the paper's code.
        counted: Whether, where a base weighs keys by their distance to the query, the text's keys
            move back by the prefix and the queries do not, as in AdapterHub; no other base is
            affected. The paper's prefix takes up no position.
        gate: Whether keys and values are multiplied by a gate that reads what the attention is
            given, as in UniPELT (Mao et al. 2022, arXiv:2110.07577); see
            `inlay.methods.input_gate.Gating`.
        gates: 1 for keys and values together, as in the paper, or 2 for one each.

    Raises:
        ConfigError: If a value is not allowed.
    """

    name: ClassVar[str] = "prefix"
    default_at: ClassVar[str] = "attention"
    kinds: ClassVar[frozenset[str]] = frozenset({"attention", "cross_attention"})
    not_learned: ClassVar[str] = (
        "they weigh what adapters add to a site's output, and its keys and values add nothing "
        "there: they act inside the attention's softmax"
    )
    in_attention: ClassVar[bool] = True

    length: int = 30
    inner_width: int | None = 512
    activation: str = "tanh"
    dropout: float = 0.0
    takes_positions: bool = False
    counted: bool = False
    gate: Gating = False
    gates: int = 1

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_at_least("Prefix", "length", self.length, 1)
        check_choice("Prefix", "activation", self.activation, tuple(ACTIVATIONS))
        check_fraction("Prefix", "dropout", self.dropout)
        check_gating("Prefix", self.gate)
        check_choice("Prefix", "gates", self.gates, (1, 2))
        if self.gates > 1 and self.gate is False:
            raise ConfigError("Prefix(gates=2) has no effect without a gate; add gate=True.")
        if self.inner_width is not None:
            check_at_least("Prefix", "inner_width", self.inner_width, 1)
        elif self.activation != "tanh":
            raise ConfigError(
                f"Prefix(inner_width=None, activation={self.activation!r}): without an inner "
                "width there is no activation; leave it out."
            )

    @override
    def build(self, place: Place) -> "PrefixLayer":
        """Build the layer of one place, whose network is its own."""
        widths = _widths(place)
        if self.inner_width is None:
            return self._layer(Table.fresh(self.length, sum(widths)), place)
        return self._layer(Network(self, place.width, self.inner_width, [widths]), place)

    def _layer(self, rows: "Table | Network | Shared", place: Place) -> "PrefixLayer":
        gate = made_gate("Prefix", self.gate, place, place.width, self.gates)
        return PrefixLayer(self, rows, _widths(place), gate)

    @override
    def build_all(self, places: Mapping[str, Place]) -> dict[str, AbstractLayer]:
        """Build a layer for each place; those of one kind and submodel share a network."""
        groups: dict[tuple[str, str], list[str]] = {}
        for name, place in places.items():
            groups.setdefault((place.submodel, place.kind), []).append(name)
        if self.inner_width is None:
            return {name: self.build(place) for name, place in places.items()}
        layers: dict[str, AbstractLayer] = {}
        for names in groups.values():
            widths = [_widths(places[name]) for name in names]
            network = Network(self, places[names[0]].width, self.inner_width, widths)
            for number, name in enumerate(names):
                rows = network if number == 0 else Shared(network, number)
                layers[name] = self._layer(rows, places[name])
        return {name: layers[name] for name in places}

    @override
    def folded(
        self, layers: Mapping[str, AbstractLayer]
    ) -> "tuple[Prefix, dict[str, AbstractLayer]] | None":
        if self.inner_width is None:
            return None
        flat = dataclasses.replace(self, inner_width=None, activation="tanh")
        new: dict[str, AbstractLayer] = {}
        for name, layer in layers.items():
            if isinstance(layer, PrefixLayer):
                rows = layer.rows().detach().clone()
                new[name] = PrefixLayer(flat, Table(rows), layer.widths, layer.gate)
        return flat, new


def _widths(place: Place) -> tuple[int, int]:
    if place.key_width is None or place.value_width is None:
        raise ConfigError(f"Prefix needs an attention; a site of kind {place.kind!r} is none.")
    return place.key_width, place.value_width


@final
class Table(nn.Module):
    """Keys and values side by side, `(length, k + v)`, trained themselves."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    @classmethod
    def fresh(cls, length: int, width: int) -> "Table":
        """Draw a new table."""
        return cls(torch.randn(length, width) * _DEVIATION)

    @override
    def forward(self) -> Tensor:
        return self.rows


@final
class Network(nn.Module):
    """The reparametrisation: gives the keys and values of several attentions."""

    def __init__(
        self, method: Prefix, width: int, inner_width: int, widths: list[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.sizes = [sum(pair) for pair in widths]
        self.inputs = nn.Parameter(torch.randn(method.length, width))
        self.down = nn.Linear(width, inner_width)
        self.activation = ACTIVATIONS[method.activation]()
        self.up = nn.Linear(inner_width, sum(self.sizes))
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=_DEVIATION)
            nn.init.zeros_(linear.bias)

    @override
    def forward(self, number: int = 0) -> Tensor:
        """Return the rows of one of the attentions, `(length, k + v)`."""
        inner = self.activation(self.down(self.inputs))
        start = sum(self.sizes[:number])
        part = slice(start, start + self.sizes[number])
        return nn.functional.linear(inner, self.up.weight[part], self.up.bias[part])


@final
class Shared(nn.Module):
    """One attention's part of a network that belongs to another layer."""

    def __init__(self, network: Network, number: int) -> None:
        super().__init__()
        self._network = [network]  # in a list: trained and saved once
        self.number = number

    @override
    def forward(self) -> Tensor:
        rows: Tensor = self._network[0](self.number)
        return rows


@final
class PrefixLayer(AbstractAttentionLayer):
    """The keys and values of `Prefix` at one attention."""

    def __init__(
        self,
        method: Prefix,
        rows: Table | Network | Shared,
        widths: tuple[int, int],
        gate: InputGate | None = None,
    ) -> None:
        super().__init__()
        self.rows = rows
        self.widths = widths
        self.counted = method.counted
        self.gate = gate
        self.sees_neighbours = gate is not None and gate.sees_neighbours
        self.dropout = nn.Dropout(method.dropout)

    @override
    def forward(self) -> tuple[Tensor, Tensor]:
        keys, values = self.dropout(self.rows()).split(self.widths, dim=1)
        return keys, values

    @override
    def gates(self, states: Tensor, mask: Tensor | None) -> Tensor | None:
        if self.gate is None:
            return None
        gates: Tensor = self.gate(states, mask)
        return gates
