"""How likely one of several programs passes its tests."""

from collections.abc import Sequence
from statistics import fmean


def pass_at(k: int, *, passed: int, written: int) -> float:
    """Return the unbiased estimate that one of `k` programs passes (Chen et al. 2021, eq. 1).

    `1 - C(n - c, k) / C(n, k)`, as a product (arXiv:2107.03374). Taking `1 - (1 - c / n) ** k`
    instead is biased.

    Args:
        k: Programs that may be tried, at most as many as were written.
        passed: Programs that pass, `c`.
        written: All of them, `n`.

    Raises:
        ValueError: If the numbers do not fit one another.
    """
    if not (1 <= k <= written and 0 <= passed <= written):
        raise ValueError(f"pass@{k} of {passed} in {written} is not defined")
    none = 1.0
    for number in range(written - passed + 1, written + 1):
        none *= max(0.0, 1 - k / number)
    return 1 - none


def mean_pass_at(k: int, rows: Sequence[tuple[int, int]]) -> float:
    """Return the mean of `pass_at` over rows of (passed, written); 0 for no rows."""
    return fmean([pass_at(k, passed=c, written=n) for c, n in rows]) if rows else 0.0
