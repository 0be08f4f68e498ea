"""How adapters are blended: the way, its settings, and the weight of each adapter."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final, get_args

from torch import Tensor

from inlay.errors import ConfigError, did_you_mean
from inlay.ops.blending import dare, ties, weighted_sum

Way = Literal["linear", "task-arithmetic", "ties", "dare", "svd", "cat"]
WAYS: tuple[str, ...] = get_args(Way)
THINNING = ("ties", "dare")
"""Ways that keep a share of the entries."""
SCALED = ("task-arithmetic", "ties", "dare")
"""Ways that work on task vectors, whose papers scale the result."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What `inlay.blend` was asked for, checked.

    Args:
        way: One of `WAYS`.
        parts: Adapter -> weight, in order.
        rank: Rank of the result, for updates of linear maps.
        density: Share of the entries that are kept, in (0, 1]; for ties and dare.
        scaling: Multiplies the result; for task-arithmetic, ties and dare.
        seed: For dare.

    Raises:
        ConfigError: If a value is not allowed, or has no effect on this way.
    """

    way: str
    parts: Mapping[str, float]
    rank: int | None = None
    density: float | None = None
    scaling: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        if self.way not in WAYS:
            raise ConfigError(
                f"blend(method={self.way!r}): no such way; there are {', '.join(WAYS)}."
                f"{did_you_mean(self.way, WAYS)}"
            )
        for name, weight in self.parts.items():
            if not math.isfinite(weight):
                raise ConfigError(f"blend: the weight of {name!r} is {weight}; give a number.")
        if not any(self.parts.values()):
            raise ConfigError("blend: every weight is 0, so nothing is left; give other weights.")
        self._check_settings()

    def _check_settings(self) -> None:
        way = self.way
        if self.rank is not None and self.rank < 1:
            raise ConfigError(f"blend(rank={self.rank}): rank must be at least 1.")
        if way == "svd" and self.rank is None:
            raise ConfigError("blend(method='svd') needs rank=, the rank of the new adapter.")
        if way == "cat" and self.rank is not None:
            raise ConfigError(
                f"blend(method='cat', rank={self.rank}): cat keeps everything, so its rank is the "
                "sum of the ranks; leave rank out, or use svd."
            )
        if way in THINNING and self.density is None:
            raise ConfigError(
                f"blend(method={way!r}) needs density=, the share of the entries to keep "
                "(TIES keeps 0.2 in its paper; DARE between 0.1 and 0.9)."
            )
        if self.density is not None and way not in THINNING:
            raise ConfigError(f"blend(method={way!r}): density is for ties and dare; leave it out.")
        if self.density is not None and not 0 < self.density <= 1:
            raise ConfigError(f"blend(density={self.density}): density is a share in (0, 1].")
        if self.scaling != 1 and way not in SCALED:
            raise ConfigError(
                f"blend(method={way!r}): scaling is for {', '.join(SCALED)}; change the weights."
            )
        if not math.isfinite(self.scaling) or self.scaling == 0:
            raise ConfigError(f"blend(scaling={self.scaling}): give a number that is not 0.")

    @property
    def used(self) -> dict[str, float]:
        """The adapters whose weight is not 0."""
        return {name: weight for name, weight in self.parts.items() if weight}

    @property
    def identity(self) -> str | None:
        """The one adapter that the result is equal to, or `None`."""
        if len(self.used) != 1 or self.density not in (None, 1.0):
            return None
        ((name, weight),) = self.used.items()
        factor = math.copysign(1.0, weight) if self.way == "ties" else weight
        return name if factor * self.scaling == 1 else None

    def mix(self, tensors: Sequence[Tensor], key: str) -> Tensor:
        """Blend task vectors, or tensors, of equal shapes.

        Args:
            tensors: One for each adapter of `used`, float64.
            key: Where they are; decides with the seed what dare drops, so that the result does
                not depend on the order of the places.
        """
        weights = list(self.used.values())
        if self.way == "ties" and self.density is not None:
            return ties(tensors, weights, self.density) * self.scaling
        if self.way == "dare" and self.density is not None:
            seeds = [self._seed(key, name) for name in self.used]
            return dare(tensors, weights, self.density, seeds) * self.scaling
        return weighted_sum(tensors, weights) * self.scaling

    def _seed(self, key: str, name: str) -> int:
        text = f"{self.seed}/{list(self.parts).index(name)}/{key}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])

    def settings(self) -> dict[str, Any]:
        """Return what was asked as plain data, without what this way does not use."""
        plain: dict[str, Any] = {"method": self.way, "weights": dict(self.parts)}
        if self.rank is not None:
            plain["rank"] = self.rank
        if self.way in SCALED:
            plain["scaling"] = self.scaling
        if self.density is not None:
            plain["density"] = self.density
        return plain | ({"seed": self.seed} if self.way == "dare" else {})


def weighted_parts(parts: Mapping[str, float] | Sequence[str], way: str) -> dict[str, float]:
    """Return adapter -> weight; without weights 1 each for task arithmetic, else equal shares.

    Raises:
        ConfigError: If there is none, or one is named twice.
    """
    if isinstance(parts, str):
        parts = [parts]
    names = list(parts)
    if not names:
        raise ConfigError("blend: no adapter to blend was named.")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"blend: {name!r} is named twice; name it once, with the sum.")
    if isinstance(parts, Mapping):
        return {name: float(weight) for name, weight in parts.items()}
    share = 1.0 if way == "task-arithmetic" else 1 / len(names)
    return dict.fromkeys(names, share)
