"""Invertible adapters on the word vectors, undone before words come out (MAD-X, Pfeiffer 2020)."""

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
    Place,
    check_at_least,
    check_choice,
)

Form = Literal["nice", "glow"]

_LARGEST_LOG_SCALE = 2.0
"""GLOW's scales stay within e**-2 and e**2, so that the inverse loses no precision."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Invertible(AbstractSiteMethod):
    """Map the word vectors one to one, and take the map back before the language model's head.

    With `e = [a, b]` the halves of a word vector, NICE (Dinh et al. 2015, arXiv:1410.8516)
    computes `a' = a + F(b)`, `b' = b + G(a')`, as in MAD-X (Pfeiffer et al. 2020,
    arXiv:2005.00052, equations 3 and 4); GLOW (Kingma and Dhariwal 2018, arXiv:1807.03039) also
    scales: `a' = a * exp(s) + t` with `[s, t] = F(b)`. `F` and `G` are small bottlenecks. At the
    output end the inverse acts where a table of output words reads the last hidden state; in a
    model without such a head it does nothing. Stacked, inverses run in reverse.

    Parameters for width `w` with halves `w1` and `w2` and inner width `d`: `2 * d * w + 2 * d + w`
    for NICE, `3 * d * w + 2 * d + 2 * w` for GLOW, once for both ends.

    AdapterHub puts it at the `start` of the stream, behind what a base adds to its word vectors.

    Args:
        form: `"nice"` or `"glow"`.
        reduction: The inner width is half the width divided by this, at least 1.
        activation: One of `inlay.methods.activation.ACTIVATIONS`.

    Raises:
        ConfigError: If a value is not allowed.
    """

    name: ClassVar[str] = "invertible"
    default_at: ClassVar[str] = "embedding, output"
    kinds: ClassVar[frozenset[str]] = frozenset({"embedding", "start", "output"})

    form: Form = "nice"
    reduction: float = 2
    activation: str = "relu"

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_choice("Invertible", "form", self.form, get_args(Form))
        check_choice("Invertible", "activation", self.activation, tuple(ACTIVATIONS))
        if self.reduction <= 0:
            raise ConfigError(f"Invertible(reduction={self.reduction!r}): must be above 0.")

    @override
    def build(self, place: Place) -> "InvertibleLayer":
        check_at_least("Invertible", "width of the word vectors", place.width, 2)
        return InvertibleLayer(Coupling(self, place.width))

    @override
    def build_all(self, places: Mapping[str, Place]) -> dict[str, AbstractLayer]:
        """Build a coupling for each embedding, and at the output the inverse that shares it.

        Raises:
            ConfigError: If there is no coupling to invert, or the widths differ.
        """
        couplings: dict[str, Coupling] = {}
        layers: dict[str, AbstractLayer] = {}
        for name, place in places.items():
            if place.kind != "output":
                if place.submodel in couplings:
                    raise ConfigError(
                        f"Invertible at {name!r}: there is one at the word vectors or at the start "
                        "of the stream, not both."
                    )
                layer = self.build(place)
                layers[name], couplings[place.submodel] = layer, layer.coupling
        for name, place in places.items():
            if place.kind != "output":
                continue
            coupling = couplings.get(place.submodel)
            if coupling is None:
                raise ConfigError(
                    f"Invertible at {name!r} alone has nothing to invert; put it at the embedding "
                    "too: at='embedding, output'."
                )
            if place.gives_words and coupling.width != place.width:
                raise ConfigError(
                    f"Invertible: the word vectors have {coupling.width} channels and the last "
                    f"hidden state {place.width}, so the map cannot be undone there; use "
                    "at='embedding'."
                )
            layers[name] = InverseLayer(coupling if place.gives_words else None)
        return {name: layers[name] for name in places}


@final
class Coupling(nn.Module):
    """A map of vectors that can be inverted exactly, whatever its weights."""

    def __init__(self, method: Invertible, width: int) -> None:
        super().__init__()
        self.width, self.cut, self.scales = width, width // 2, method.form == "glow"
        inner = max(1, round(self.cut / method.reduction))
        self.f = self._net(width - self.cut, inner, self.cut, method.activation)
        self.g = self._net(self.cut, inner, width - self.cut, method.activation)

    def _net(self, width: int, inner: int, out: int, activation: str) -> nn.Sequential:
        last = nn.Linear(inner, 2 * out if self.scales else out)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return nn.Sequential(nn.Linear(width, inner), ACTIVATIONS[activation](), last)

    @override
    def forward(self, vectors: Tensor) -> Tensor:
        one, two = vectors[..., : self.cut], vectors[..., self.cut :]
        scale, shift = self.change(self.f, two)
        one = one * scale.exp() + shift
        scale, shift = self.change(self.g, one)
        return torch.cat([one, two * scale.exp() + shift], dim=-1)

    def inverse(self, vectors: Tensor) -> Tensor:
        """Return the vectors that `forward` maps to these."""
        one, two = vectors[..., : self.cut], vectors[..., self.cut :]
        scale, shift = self.change(self.g, one)
        two = (two - shift) * (-scale).exp()
        scale, shift = self.change(self.f, two)
        return torch.cat([(one - shift) * (-scale).exp(), two], dim=-1)

    def change(self, net: nn.Sequential, half: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logarithm of the scale, and the shift, that one half gives for the other."""
        out: Tensor = net(half)
        if not self.scales:
            return torch.zeros_like(out), out
        log_scale, shift = out.chunk(2, dim=-1)
        return _LARGEST_LOG_SCALE * torch.tanh(log_scale / _LARGEST_LOG_SCALE), shift


@final
class InvertibleLayer(AbstractAdapterLayer):
    """The coupling at the input end."""

    def __init__(self, coupling: Coupling) -> None:
        super().__init__()
        self.reads = "x"
        self.coupling = coupling

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        vectors = inputs.to(next(self.coupling.parameters()).dtype)
        return self.coupling(vectors).to(outputs.dtype)  # type: ignore[no-any-return]


@final
class InverseLayer(AbstractAdapterLayer):
    """The inverse at the output end; its weights are those of the coupling at the input end."""

    undoes: ClassVar[bool] = True

    def __init__(self, coupling: Coupling | None) -> None:
        super().__init__()
        self.reads = "x"
        self._coupling = [coupling]  # in a list: one module, trained and saved once

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        coupling = self._coupling[0]
        if coupling is None:
            return outputs
        return coupling.inverse(inputs.to(next(coupling.parameters()).dtype)).to(outputs.dtype)
