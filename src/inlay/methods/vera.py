"""VeRA: a low-rank update whose matrices are random and shared, and only scaled (Kopiczko 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from inlay.errors import ConfigError
from inlay.methods.base import (
    AbstractLayer,
    AbstractMergeableLayer,
    AbstractSiteMethod,
    Grouped,
    LowRank,
    Place,
    add,
    check_at_least,
    check_choice,
)
from inlay.ops.grouped import Slots, grouped_scale
from inlay.ops.low_rank import low_rank_weight
from inlay.ops.seeded import seeded_uniform
from inlay.site_kinds import LINEAR_KINDS


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class VeRA(AbstractSiteMethod):
    """Add `b * B (d * A x)` to a frozen linear map `W x` and train the vectors `b` and `d` only.

    Kopiczko et al. 2024 (arXiv:2310.11454), equation 2. `A` and `B` are random (Kaiming uniform)
    and frozen; maps of one width share them. They follow from `seed`, so they are not saved, and
    loading gives the same ones bit for bit. `d` starts at 0.1 and `b` at zero, so a new adapter
    changes nothing.

    Parameters for one map: `out_width + rank`; in memory `rank * width` more for each width of an
    input, and of an output, that occurs.

    Args:
        rank: Rows of `A`; far more than LoRA's, as each costs one weight for a map.
        seed: Of `A` and `B`, at least 0. Adapters of equal seed and rank run together in `Rows`.
        saved: Whether `A` and `B` are saved with the adapter, since they are not those of the
            seed but of a file of another library; the seed then only tells them from others.

    Raises:
        ConfigError: If `rank < 1` or `seed < 0`, or one is no whole number; or `saved` is neither
            true nor false.

    Example:
        >>> layer = VeRA(rank=3).build(Place(width=5, in_width=7, kind="v"))
        >>> sum(p.numel() for p in layer.parameters())
        8
    """

    name: ClassVar[str] = "vera"
    default_at: ClassVar[str] = "linear"
    kinds: ClassVar[frozenset[str]] = frozenset(LINEAR_KINDS)

    rank: int = 256
    seed: int = 0
    saved: bool = False

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_choice("VeRA", "saved", self.saved, (True, False))
        for name, value, least in (("rank", self.rank, 1), ("seed", self.seed, 0)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise ConfigError(f"VeRA({name}={value!r}): {name} is a whole number.")
            check_at_least("VeRA", name, value, least)

    @override
    def can_merge(self) -> bool:
        return True

    @override
    def build(self, place: Place) -> AbstractLayer:
        return self.build_all({place.kind: place})[place.kind]

    @override
    def build_all(self, places: Mapping[str, Place]) -> dict[str, AbstractLayer]:
        """Build the layers around matrices that are made once for each width.

        Raises:
            ConfigError: If a place is no linear map.
        """
        down: dict[int, RandomMatrix] = {}
        up: dict[int, RandomMatrix] = {}
        layers: dict[str, AbstractLayer] = {}
        for name, place in places.items():
            if place.in_width is None:
                raise ConfigError(
                    f"VeRA needs a linear map; a site of kind {place.kind!r} is none."
                )
            is_new = place.in_width not in down, place.width not in up
            if is_new[0]:
                down[place.in_width] = self._matrix(self.rank, place.in_width, stream=0)
            if is_new[1]:
                up[place.width] = self._matrix(place.width, self.rank, stream=1)
            owns = is_new if self.saved else (True, True)  # what is saved is saved once
            layers[name] = VeRALayer(down[place.in_width], up[place.width], self.seed, owns=owns)
        return layers

    def _matrix(self, rows: int, columns: int, *, stream: int) -> "RandomMatrix":
        return RandomMatrix(rows, columns, self.seed, stream=stream, saved=self.saved)


@final
class RandomMatrix(nn.Module):
    """A frozen matrix that several layers hold; as a rule no part of what is saved."""

    weight: Tensor

    def __init__(
        self, rows: int, columns: int, seed: int, *, stream: int, saved: bool = False
    ) -> None:
        super().__init__()
        bound = (6 / columns) ** 0.5  # Kaiming uniform with the gain of a ReLU, as the authors'
        weight = seeded_uniform(rows, columns, bound, seed=seed, stream=stream)
        self.register_buffer("weight", weight, persistent=saved)


@final
class VeRALayer(AbstractMergeableLayer):
    """The trainable vectors of `VeRA` at one linear map.

    Args:
        down: `A`, `(rank, in_width)`.
        up: `B`, `(out_width, rank)`.
        seed: What they were made from, or tells them from others.
        owns: Whether each of them is a part of this layer, and saved with it if it is saved.
    """

    def __init__(
        self,
        down: RandomMatrix,
        up: RandomMatrix,
        seed: int,
        *,
        owns: tuple[bool, bool] = (True, True),
    ) -> None:
        super().__init__()
        self.reads = "in"
        self.seed = seed
        self._shared = (down, up)  # in a tuple: not for that reason a part of this layer
        if owns[0]:
            self.down = down
        if owns[1]:
            self.up = up
        self.d = nn.Parameter(torch.full((len(down.weight),), 0.1))
        self.b = nn.Parameter(torch.zeros(len(up.weight)))

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return `A` and `B`, which may lie elsewhere if the base is spread over devices."""
        down, up = self._shared
        return down.weight.to(self.d), up.weight.to(self.d)

    @override
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        down, up = self.matrices()
        hidden = linear(inputs.to(down.dtype), down) * self.d
        return add(outputs, linear(hidden, up) * self.b)

    @override
    def low_rank(self) -> LowRank:
        down, up = self.matrices()
        return LowRank(
            lambda inputs: linear(inputs.to(down.dtype), down) * self.d, up * self.b[:, None]
        )

    @override
    def grouped(self) -> Grouped:
        key = (VeRALayer, self.seed, self.d.shape, self.b.shape, self.d.dtype)
        return Grouped(key, (self.d, self.b), self._run_grouped)

    def _run_grouped(
        self, weights: tuple[Tensor, ...], slots: Slots, inputs: Tensor, outputs: Tensor
    ) -> Tensor:
        down, up = self.matrices()
        d, b = weights
        hidden = grouped_scale(linear(inputs.to(down.dtype), down), d, slots)
        return add(outputs, grouped_scale(linear(hidden, up), b, slots))

    @override
    def weight_update(self) -> Tensor:
        down, up = self.matrices()
        return low_rank_weight(self.d[:, None] * down, self.b[:, None] * up, 1.0)
