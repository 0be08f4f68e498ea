"""Metrics of predicted numbers."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata


def pearson(known: Sequence[float], given: Sequence[float]) -> float:
    """Return Pearson's correlation; 0 where one side is constant, as nothing is told apart then."""
    first, second = np.asarray(known, dtype=float), np.asarray(given, dtype=float)
    if len(first) < 2:
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / size) if size > 0 else 0.0


def spearman(known: Sequence[float], given: Sequence[float]) -> float:
    """Return Spearman's correlation of ranks, ties at their mean rank; 0 if a side is constant."""
    if len(known) < 2:
        return 0.0
    return pearson(rankdata(known).tolist(), rankdata(given).tolist())


def mse(known: Sequence[float], given: Sequence[float]) -> float:
    """Return the mean squared error."""
    return float(np.mean((np.asarray(known, dtype=float) - np.asarray(given, dtype=float)) ** 2))


def mae(known: Sequence[float], given: Sequence[float]) -> float:
    """Return the mean absolute error."""
    return float(np.mean(np.abs(np.asarray(known, dtype=float) - np.asarray(given, dtype=float))))
