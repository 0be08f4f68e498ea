"""Metrics of regression, from known and predicted numbers.

A correlation needs both sides to vary. Where one does not, or there are fewer than two rows, it is
0: predictions that are all alike say nothing about the order of the rows.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from inlay.errors import DataError
from inlay.metrics.ranks import mean_ranks

_Array = npt.NDArray[np.float64]


def mse(known: Sequence[float], predicted: Sequence[float]) -> float:
    """Return the mean squared error; 0 for no rows.

    Raises:
        ValueError: If the rows do not pair up.
        DataError: If a number is not finite; this holds for all functions here.
    """
    a, b = _pair(known, predicted)
    return float(np.mean((a - b) ** 2)) if len(a) else 0.0


def mae(known: Sequence[float], predicted: Sequence[float]) -> float:
    """Return the mean absolute error; 0 for no rows. Raises as `mse`."""
    a, b = _pair(known, predicted)
    return float(np.mean(np.abs(a - b))) if len(a) else 0.0


def pearson(known: Sequence[float], predicted: Sequence[float]) -> float:
    """Return Pearson's correlation, in [-1, 1]; 0 if a side is constant. Raises as `mse`."""
    return _correlation(*_pair(known, predicted))


def spearman(known: Sequence[float], predicted: Sequence[float]) -> float:
    """Return the correlation of the ranks, in [-1, 1], where equal numbers share their mean rank.

    It is 0 if a side is constant. Raises as `mse`.
    """
    a, b = _pair(known, predicted)
    return _correlation(mean_ranks(a), mean_ranks(b))


def _correlation(a: _Array, b: _Array) -> float:
    # A mean of equal numbers can differ from them by rounding, so they are compared themselves.
    if len(a) < 2 or a.min() == a.max() or b.min() == b.max():
        return 0.0
    a, b = _centred(a), _centred(b)
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def _centred(values: _Array) -> _Array:
    """Take the mean away and scale to at most 1, so that squares neither overflow nor vanish."""
    values = values / np.abs(values).max()
    values = values - values.mean()
    return np.asarray(values / np.abs(values).max())


def _pair(known: Sequence[float], predicted: Sequence[float]) -> tuple[_Array, _Array]:
    a, b = np.asarray(known, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"Known numbers have the shape {a.shape} and predicted ones {b.shape}; "
            f"give one of each for every row."
        )
    for name, values in (("known", a), ("predicted", b)):
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise DataError(
                f"The {name} number of row {wrong[0]} is {values[wrong[0]]}; {len(wrong)} of "
                f"{len(values)} are not finite. Only finite numbers can be scored: correct "
                f"the rows, or look for why the model gives none."
            )
    return a, b
