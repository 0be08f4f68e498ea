"""Prompt tuning and P-tuning: trained vectors in front of the word vectors."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.base import (
    AbstractLayer,
    AbstractPromptLayer,
    AbstractSiteMethod,
    Place,
    check_at_least,
    check_choice,
)

Encoder = Literal["none", "mlp", "lstm"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt(AbstractSiteMethod):
    """Put `length` trained vectors in front of the word vectors.

    With no encoder this is prompt tuning (Lester et al. 2021, arXiv:2104.08691), with an encoder
    P-tuning (Liu et al. 2021, arXiv:2103.10385): the vectors come from a network, so that they
    depend on one another; `fold` leaves only what it gives. What the model returns has the
    caller's positions and no others unless `returned`. A new prompt changes the base's outputs.

    Parameters for word vectors of width `w` and inner width `d`: `length * w`; an MLP adds
    `2 * d * w + d * d + 2 * d + w`, and an LSTM of two layers in both directions, with an MLP on
    what it gives, `8 * d * (w + d + 2) + 8 * d * (3 * d + 2) + 4 * d * d + 2 * d + 2 * d * w + w`.

    Args:
        length: Vectors in front, at least 1.
        encoder: `"none"`, `"mlp"` or `"lstm"`.
        inner_width: Inner channels of the encoder; `None` for those of the word vectors.
        deviation: Standard deviation of the vectors at the start, of a normal distribution.
        returned: Whether what the model returns has the vectors' positions too, as in PEFT. A
            pooler then reads the first vector where it else reads the first word.

    Raises:
        ConfigError: If a value is not allowed.
    """

    name: ClassVar[str] = "prompt"
    default_at: ClassVar[str] = "embedding"
    kinds: ClassVar[frozenset[str]] = frozenset({"embedding"})
    not_averaged: ClassVar[str] = (
        "with its vectors a sequence is longer than without, and sequences of different lengths "
        "have no average at any site"
    )
    not_learned: ClassVar[str] = not_averaged
    in_front: ClassVar[bool] = True

    length: int = 20
    encoder: Encoder = "none"
    inner_width: int | None = None
    deviation: float = 0.02
    returned: bool = False

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_at_least("Prompt", "length", self.length, 1)
        check_choice("Prompt", "encoder", self.encoder, get_args(Encoder))
        if self.deviation <= 0:
            raise ConfigError(f"Prompt(deviation={self.deviation!r}): must be above 0.")
        if self.inner_width is not None:
            check_at_least("Prompt", "inner_width", self.inner_width, 1)
            if self.encoder == "none":
                raise ConfigError(
                    f"Prompt(encoder='none', inner_width={self.inner_width}): without an encoder "
                    "there is no inner width; leave it out, or choose encoder='mlp'."
                )

    @override
    def build(self, place: Place) -> "PromptLayer":
        vectors = torch.randn(self.length, place.width) * self.deviation
        return PromptLayer(vectors, self._network(place.width), returned=self.returned)

    @override
    def folded(
        self, layers: Mapping[str, AbstractLayer]
    ) -> "tuple[Prompt, dict[str, AbstractLayer]] | None":
        if self.encoder == "none":
            return None
        plain = dataclasses.replace(self, encoder="none", inner_width=None)
        return plain, {
            name: PromptLayer(layer().detach().clone(), nn.Identity(), returned=self.returned)
            for name, layer in layers.items()
            if isinstance(layer, PromptLayer)
        }

    def _network(self, width: int) -> nn.Module:
        inner = self.inner_width or width
        if self.encoder == "none":
            return nn.Identity()
        if self.encoder == "mlp":
            return nn.Sequential(
                nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, inner), nn.ReLU(),
                nn.Linear(inner, width),
            )  # fmt: skip
        return Recurrent(width, inner)


@final
class Recurrent(nn.Module):
    """P-tuning's encoder: an LSTM in both directions, and an MLP on what it gives."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, inner, num_layers=2, bidirectional=True)
        self.mlp = nn.Sequential(
            nn.Linear(2 * inner, 2 * inner), nn.ReLU(), nn.Linear(2 * inner, width)
        )

    @override
    def forward(self, vectors: Tensor) -> Tensor:
        result: Tensor = self.mlp(self.lstm(vectors)[0])
        return result


@final
class PromptLayer(AbstractPromptLayer):
    """The vectors of `Prompt`, and the network that they pass through."""

    def __init__(self, vectors: Tensor, network: nn.Module, *, returned: bool = False) -> None:
        super().__init__()
        self.returned = returned
        self.vectors = nn.Parameter(vectors)
        self.network = network

    @override
    def forward(self) -> Tensor:
        result: Tensor = self.network(self.vectors)
        return result
