"""How high the right candidate of each query is ranked."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from inlay.errors import DataError


def gold_ranks(scores: npt.ArrayLike, gold: Sequence[int]) -> npt.NDArray[np.int_]:
    """Return the rank of the right candidate of each query, from 1.

    Candidates with the same score as the right one are ranked before it, so that scores which are
    all alike find nothing.

    Args:
        scores: Of each candidate for each query, `(queries, candidates)`; more is better.
        gold: The column of the right candidate of each query.

    Raises:
        ValueError: If the shapes do not fit.
        DataError: If an index is no column, or a score is not a number. The other functions here
            raise the same.
    """
    table = np.asarray(scores, dtype=np.float64)
    right = np.asarray(gold, dtype=np.int_)
    if not len(right) and not table.size:
        return right
    if table.ndim != 2 or right.shape != table.shape[:1]:
        raise ValueError(
            f"Scores have the shape {table.shape} and right candidates {right.shape}; "
            f"give a matrix of queries by candidates and one candidate for each query."
        )
    columns = table.shape[1]
    wrong = np.flatnonzero((right < 0) | (right >= columns))
    if len(wrong):
        raise DataError(
            f"The right candidate of query {wrong[0]} is {right[wrong[0]]}, but there are "
            f"{columns}, numbered from 0. Give the column of its score."
        )
    if np.isnan(table).any():
        raise DataError(
            f"{int(np.isnan(table).sum())} of {table.size} scores are not a number and have no "
            f"rank. Look for why the model gives none."
        )
    return np.asarray((table >= table[np.arange(len(right)), right, None]).sum(axis=1))


def retrieval_at(scores: npt.ArrayLike, gold: Sequence[int], k: int = 1) -> float:
    """Return the share of queries whose right candidate is among the first `k`; 0 for no queries.

    For the arguments and errors see `gold_ranks`.
    """
    ranks = gold_ranks(scores, gold)
    return float((ranks <= k).mean()) if len(ranks) else 0.0


def mean_reciprocal_rank(scores: npt.ArrayLike, gold: Sequence[int]) -> float:
    """Return the mean of 1 / rank of the right candidate; 0 for no queries.

    For the arguments and errors see `gold_ranks`.
    """
    ranks = gold_ranks(scores, gold)
    return float((1 / ranks).mean()) if len(ranks) else 0.0
