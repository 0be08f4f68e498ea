"""How far a number can be trusted: bootstrap intervals and paired tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

_RESAMPLES = 2000


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """How much better `b` is than `a` on the same rows.

    Attributes:
        mean: Mean of `b` minus mean of `a`.
        low: Lower end of the 95 % bootstrap interval of that difference.
        high: Upper end.
        p_value: Of McNemar's exact test that the two err equally often.
        fixed: Rows that only `b` has right.
        broken: Rows that only `a` has right.
    """

    mean: float
    low: float
    high: float
    p_value: float
    fixed: int
    broken: int

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the test rejects equality at 5 %."""
        return self.p_value < 0.05


def bootstrap_interval(
    values: Sequence[float], *, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return a percentile bootstrap interval for the mean of the values.

    Args:
        values: One number for each row, such as 1 for right and 0 for wrong.
        seed: Of the resampling.
        level: Share of resamples inside, in (0, 1).
    """
    if not len(values):
        return 0.0, 0.0
    means = _resampled_means(np.asarray(values, dtype=float), seed)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(a: Sequence[bool], b: Sequence[bool], *, seed: int = 0) -> Difference:
    """Compare two systems by which rows each has right, row by row.

    Args:
        a: Whether the first system has each row right.
        b: The same for the second, on the same rows.
        seed: Of the resampling.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    low, high = bootstrap_interval((second - first).tolist(), seed=seed)
    fixed = int((second > first).sum())
    broken = int((first > second).sum())
    mean = float((second - first).mean()) if len(first) else 0.0
    return Difference(mean, low, high, mcnemar(fixed, broken), fixed, broken)


def mcnemar(fixed: int, broken: int) -> float:
    """Return the two-sided p value of McNemar's exact test (McNemar 1947).

    Args:
        fixed: Rows that only the second system has right.
        broken: Rows that only the first has right.
    """
    discordant = fixed + broken
    if discordant == 0:
        return 1.0
    # Through logarithms, because the binomials of thousands of rows overflow a float.
    logs = [
        math.lgamma(discordant + 1)
        - math.lgamma(k + 1)
        - math.lgamma(discordant - k + 1)
        - discordant * math.log(2)
        for k in range(min(fixed, broken) + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(value) for value in logs))


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    """Return the mean of each resample, a few hundred resamples at a time."""
    generator = np.random.default_rng(seed)
    chunk = max(1, 4_000_000 // len(values))
    parts = []
    for start in range(0, _RESAMPLES, chunk):
        count = min(chunk, _RESAMPLES - start)
        rows = generator.integers(0, len(values), size=(count, len(values)))
        parts.append(values[rows].mean(axis=1))
    return np.concatenate(parts)
