"""How far a number can be trusted: bootstrap intervals and paired tests."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

import numpy as np

from inlay.errors import DataError

_RESAMPLES = 2000
_MOST_FLIPS = 10_000

Row = TypeVar("Row")


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """How much better `b` is than `a` on the same rows.

    Attributes:
        mean: Mean of `b` minus mean of `a`; the reverse where lower is better.
        low: Lower end of the 95 % bootstrap interval of that difference.
        high: Upper end.
        p_value: Of the test that the two are alike: McNemar's exact test where rows are right or
            wrong, else the sign-flip test.
        fixed: Rows that `b` scores higher: that only `b` has right.
        broken: Rows that `a` scores higher: that only `a` has right.
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


def bootstrap_metric(
    rows: Sequence[Row],
    metric: Callable[[list[Row]], float],
    seed: int = 0,
    *,
    level: float = 0.95,
    resamples: int = 1000,
) -> tuple[float, float]:
    """Return a percentile bootstrap interval for a metric that is no mean over the rows.

    To compare two systems, let a row hold what both gave and the metric be their difference (Koehn
    2004). The metric is computed `resamples` times.

    Args:
        rows: What the metric needs of each row, such as pairs of a known and a predicted label.
        metric: From rows to one number.
        seed: Of the resampling.
        level: Share of resamples inside, in (0, 1).
        resamples: How often rows are drawn anew.
    """
    if not len(rows):
        return 0.0, 0.0
    generator = np.random.default_rng(seed)
    values = [
        metric([rows[at] for at in generator.integers(0, len(rows), size=len(rows))])
        for _ in range(resamples)
    ]
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> Difference:
    """Compare two systems by how each does on each row.

    Args:
        a: The score of the first system on each row, or whether it has the row right.
        b: The same for the second, on the same rows.
        seed: Of the resampling.

    Raises:
        ValueError: If the rows do not pair up.
        DataError: If a score is not finite.
    """
    if len(a) != len(b):
        raise ValueError(
            f"The first system has {len(a)} scores and the second {len(b)}; "
            f"give one of each for every row, on the same rows."
        )
    differences = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    low, high = bootstrap_interval(differences.tolist(), seed=seed)
    fixed = int((differences > 0).sum())
    broken = int((differences < 0).sum())
    mean = float(differences.mean()) if len(differences) else 0.0
    # Of rows that are right or wrong McNemar's test is the exact sign-flip test.
    is_binary = np.isin(differences, (-1.0, 0.0, 1.0)).all()
    p_value = mcnemar(fixed, broken) if is_binary else sign_flip(differences.tolist(), seed=seed)
    return Difference(mean, low, high, p_value, fixed, broken)


def sign_flip(differences: Sequence[float], *, seed: int = 0) -> float:
    """Return the two-sided p value of the paired randomisation test (Fisher 1935).

    If two systems are alike, each row's difference could as well have the other sign. The p value
    is the share of all choices of signs whose sum is at least as far from 0 as the one found. Where
    these are more than 10,000 so many are drawn, and the one found counts as one of them, so that
    p is never 0 (Phipson and Smyth 2010).

    Args:
        differences: Score of the second system minus that of the first, for each row.
        seed: Of the draws.

    Raises:
        DataError: If a difference is not finite.
    """
    if not np.isfinite(differences).all():
        raise DataError(
            "A row's score is not finite, so two systems cannot be compared by it. Give the row "
            "the worst score, or leave it out for both."
        )
    sizes = np.asarray([value for value in differences if value], dtype=float)
    # Sums that are equal but for rounding are equally far.
    found = abs(sizes.sum()) - 1e-12 * np.abs(sizes).sum()
    if 2 ** len(sizes) <= _MOST_FLIPS:
        choices = np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes))
        return float((np.abs((1 - 2 * (choices & 1)) @ sizes) >= found).mean())
    generator = np.random.default_rng(seed)
    chunk = max(1, 4_000_000 // len(sizes))
    as_far = 1
    for start in range(0, _MOST_FLIPS, chunk):
        shape = min(chunk, _MOST_FLIPS - start), len(sizes)
        signs = 1 - 2 * generator.integers(0, 2, size=shape, dtype=np.int8)
        as_far += int((np.abs(signs @ sizes) >= found).sum())
    return as_far / (_MOST_FLIPS + 1)


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
