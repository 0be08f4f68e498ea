"""The one number of a task: from counts of rows to its value, interval and difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from inlay.metrics.significance import Difference, mcnemar, paired_difference

_RESAMPLES = 2000

Counts = Sequence[Sequence[float]]
"""For each row the numbers whose sums make the metric."""


@final
@dataclass(frozen=True, slots=True)
class Headline:
    """A metric that depends on the rows only through sums over them.

    Args:
        name: As in reports: "accuracy", "entity_f1", "perplexity".
        form: How the value is made of the sums. `mean` of counts `(score, 1)`; `f1` of
            `(hits, predicted, known)`; `perplexity` of `(negative log likelihood, tokens)`.

    Example:
        >>> Headline("entity_f1", "f1").value([[1, 1, 2], [0, 1, 0]])
        0.5
    """

    name: str
    form: Literal["mean", "f1", "perplexity"] = "mean"

    @property
    def is_fraction(self) -> bool:
        """Whether the value lies in [0, 1] and is shown in per cent."""
        return self.form != "perplexity"

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller value is the better one."""
        return self.form == "perplexity"

    def value(self, counts: Counts) -> float:
        """Return the metric over all rows; 0 if there is none."""
        if not len(counts):
            return 0.0
        return float(self._of_sums(np.asarray(counts, dtype=float).sum(axis=0)))

    def row_value(self, counts: Sequence[float]) -> float:
        """Return how good one row is; more is better, 1 is right where values are fractions."""
        if self.form == "f1" and not any(counts):
            return 1.0
        value = float(self._of_sums(np.asarray(counts, dtype=float)))
        return -value if self.lower_is_better else value

    def interval(
        self, counts: Counts, *, seed: int = 0, level: float = 0.95
    ) -> tuple[float, float]:
        """Return a percentile bootstrap interval over rows.

        Args:
            counts: Of each row.
            seed: Of the resampling.
            level: Share of resamples inside, in (0, 1).
        """
        if not len(counts):
            return 0.0, 0.0
        values = self._of_sums(_resampled_sums(np.asarray(counts, dtype=float), seed))
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def difference(self, a: Counts, b: Counts, *, seed: int = 0) -> Difference:
        """Return how much better `b` is than `a` on the same rows.

        The p value is that of McNemar's exact test where rows are right or wrong, else the share
        of paired resamples on the other side of zero, twice. `fixed` and `broken` count the rows
        that got better and worse.

        Args:
            a: Counts of the first system.
            b: Counts of the second, row by row.
            seed: Of the resampling.
        """
        if self.form == "mean" and all(row[0] in (0, 1) for row in (*a, *b)):
            return paired_difference([row[0] == 1 for row in a], [row[0] == 1 for row in b])
        if not len(a):
            return Difference(0.0, 0.0, 0.0, mcnemar(0, 0), 0, 0)
        first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        sums = _resampled_sums(np.concatenate([first, second], axis=1), seed)
        width = first.shape[1]
        sign = -1 if self.lower_is_better else 1
        gains = sign * (self._of_sums(sums[:, width:]) - self._of_sums(sums[:, :width]))
        low, high = np.quantile(gains, [0.025, 0.975])
        tail = min((gains <= 0).mean(), (gains >= 0).mean())
        rows = [
            (self.row_value(one), self.row_value(other)) for one, other in zip(a, b, strict=True)
        ]
        return Difference(
            mean=sign * (self.value(b) - self.value(a)), low=float(low), high=float(high),
            p_value=float(min(1.0, max(2 * tail, 1 / _RESAMPLES))),
            fixed=sum(other > one for one, other in rows),
            broken=sum(other < one for one, other in rows),
        )  # fmt: skip

    def _of_sums(self, sums: np.ndarray) -> np.ndarray:
        """Return the metric of sums, whose last dimension are the counts."""
        if self.form == "f1":
            total = sums[..., 1] + sums[..., 2]
            f1: np.ndarray = 2 * sums[..., 0] / np.maximum(total, 1e-12)
            return f1
        mean: np.ndarray = sums[..., 0] / np.maximum(sums[..., 1], 1e-12)
        return np.exp(np.minimum(mean, 700)) if self.form == "perplexity" else mean


def _resampled_sums(counts: np.ndarray, seed: int) -> np.ndarray:
    """Return the sums of each resample of the rows, `(resamples, counts)`."""
    generator = np.random.default_rng(seed)
    number = len(counts)
    chunk = max(1, 4_000_000 // number)
    parts = []
    for start in range(0, _RESAMPLES, chunk):
        rows = generator.integers(0, number, size=(min(chunk, _RESAMPLES - start), number))
        parts.append(counts[rows].sum(axis=1))
    return np.concatenate(parts)
