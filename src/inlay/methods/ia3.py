"""IA3: learned factors on keys, values and inner activations of feed-forward layers (Liu 2022)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from inlay.errors import ConfigError, did_you_mean
from inlay.methods.base import (
    AbstractLayer,
    AbstractMergeableLayer,
    AbstractSiteMethod,
    Grouped,
    Place,
    add,
    check_choice,
)
from inlay.ops.grouped import Slots, grouped_scale
from inlay.site_kinds import LINEAR_KINDS


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class IA3(AbstractSiteMethod):
    """Multiply the channels of a linear map's output, or of its input, by learned factors `l`.

    Liu et al. 2022 (arXiv:2205.05638), section 3.3: `l_k * (W_k x)`, `l_v * (W_v x)` and, in a
    feed-forward layer, `W_down (l_ff * act(W_up x))`. Factors start at one, so a new adapter
    changes nothing. Parameters: the map's output width, and its input width for `down`.

    An output's factor acts on its bias too, as in the authors' code. Factors on an input cost one
    more product with the map's weight until the adapter is merged, which makes all of it free.

    Args:
        inputs: Kinds or names of linear maps whose input is multiplied, as `down` or
            `down, 0.attention.o`; of others it is the output.

    Raises:
        ConfigError: If a word is neither a kind of linear map nor a site of the adapter.
    """

    name: ClassVar[str] = "ia3"
    default_at: ClassVar[str] = "k, v, down"
    kinds: ClassVar[frozenset[str]] = frozenset(LINEAR_KINDS)
    needs_weight: ClassVar[bool] = True

    inputs: str = "down"

    def __post_init__(self) -> None:
        """Check the kinds here, where they are used; names are checked where sites are known."""
        for word in self._inputs():
            if "." not in word:
                check_choice("IA3", "inputs", word, tuple(sorted(self.kinds)))

    def _inputs(self) -> list[str]:
        return [word.strip() for word in self.inputs.split(",") if word.strip()]

    @override
    def can_merge(self) -> bool:
        return True

    @override
    def build(self, place: Place) -> AbstractLayer:
        return self._built(place.kind, place)

    @override
    def build_all(self, places: Mapping[str, Place]) -> dict[str, AbstractLayer]:
        """Build a layer for each place.

        Raises:
            ConfigError: If `inputs` names a site where the adapter is not put.
        """
        for word in self._inputs():
            if "." in word and word not in places:
                raise ConfigError(
                    f"IA3(inputs={self.inputs!r}): {word!r} is no site that this adapter is put "
                    f"at; it is put at {', '.join(places)}.{did_you_mean(word, list(places))}"
                )
        return {name: self._built(name, place) for name, place in places.items()}

    def _built(self, name: str, place: Place) -> AbstractLayer:
        if place.in_width is None or place.weight is None:
            raise ConfigError(
                f"IA3 needs a linear map with a weight; a site of kind {place.kind!r} has none."
            )
        on_input = bool({name, place.kind} & set(self._inputs()))
        width = place.in_width if on_input else place.width
        return IA3Layer(width, place.weight, on_input=on_input)


@final
class IA3Layer(AbstractMergeableLayer):
    """The factors of `IA3` at one linear map.

    Args:
        width: How many factors.
        weight: Gives the map's weight, `(out_width, in_width)`.
        on_input: Whether they are for the map's input.
    """

    def __init__(self, width: int, weight: Callable[[], Tensor], *, on_input: bool) -> None:
        super().__init__()
        self.reads = "in"
        self.on_input = on_input
        self.factors = nn.Parameter(torch.ones(width))
        self._weight = weight

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        changed = (inputs if self.on_input else outputs).to(self.factors.dtype)
        return self._changed(changed * (self.factors - 1), outputs)

    def _changed(self, change: Tensor, outputs: Tensor) -> Tensor:
        """Return the new output from the change of what the factors are for."""
        if self.on_input:
            weight = self._weight()
            change = linear(change.to(weight.dtype), weight)
        return add(outputs, change)

    @override
    def grouped(self) -> Grouped:
        key = (IA3Layer, self.on_input, self.factors.shape, self.factors.dtype)
        return Grouped(key, (self.factors,), self._run_grouped)

    def _run_grouped(
        self, weights: tuple[Tensor, ...], slots: Slots, inputs: Tensor, outputs: Tensor
    ) -> Tensor:
        changed = (inputs if self.on_input else outputs).to(self.factors.dtype)
        return self._changed(grouped_scale(changed, weights[0] - 1, slots), outputs)

    @override
    def weight_update(self) -> Tensor:
        change = self.factors - 1
        weight = self._weight().to(change.dtype)
        return weight * (change if self.on_input else change[:, None])

    @override
    def bias_factors(self) -> Tensor | None:
        return None if self.on_input else self.factors
