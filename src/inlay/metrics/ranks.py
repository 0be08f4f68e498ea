"""Ranks of numbers, and how well numbers put one kind of row before the other."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def mean_ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the ranks of numbers from 1, where equal numbers share their mean rank.

    Args:
        values: One dimension, finite.
    """
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(sizes) - (sizes - 1) / 2
    return np.asarray(ranks[group], dtype=np.float64)


def auroc(is_positive: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Return the area under the receiver operating characteristic, in [0, 1].

    It is the probability that a positive row has a higher score than a negative one, an equal
    score counting half (Fawcett 2006, doi:10.1016/j.patrec.2005.10.010).

    Args:
        is_positive: The kind of each row.
        scores: Of the same rows; higher speaks for positive.

    Returns:
        `None` if there are no rows of one of the kinds.

    Raises:
        ValueError: If the rows do not pair up.
    """
    if len(is_positive) != len(scores):
        raise ValueError(f"{len(is_positive)} rows have {len(scores)} scores; give one for each.")
    positive = np.asarray(is_positive, dtype=bool)
    above = int(positive.sum())
    below = len(positive) - above
    if not above or not below:
        return None
    ranks = mean_ranks(scores)
    return float((ranks[positive].sum() - above * (above + 1) / 2) / (above * below))
