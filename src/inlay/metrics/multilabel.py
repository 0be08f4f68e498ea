"""Metrics of rows that have any number of labels, from matrices of rows by labels.

A matrix has one row for each example and one column for each label, true where the row has it.
"""

import numpy as np
import numpy.typing as npt

from inlay.errors import DataError
from inlay.metrics.classification import LabelScore

_Bools = npt.NDArray[np.bool_]


def label_scores(known: npt.ArrayLike, predicted: npt.ArrayLike) -> dict[str, float]:
    """Return `micro_f1`, `macro_f1`, `subset_accuracy` and `hamming_loss`, as the functions below.

    Args:
        known: Which labels each row has, `(rows, labels)`.
        predicted: The same as predicted.

    Raises:
        ValueError: If the shapes differ or are no matrices; this holds for all functions here.
    """
    return {
        "micro_f1": micro_f1(known, predicted),
        "macro_f1": macro_f1(known, predicted),
        "subset_accuracy": subset_accuracy(known, predicted),
        "hamming_loss": hamming_loss(known, predicted),
    }


def each_label(known: npt.ArrayLike, predicted: npt.ArrayLike) -> list[LabelScore]:
    """Return the precision, recall and F1 of each label, in the order of the columns."""
    a, b = _pair(known, predicted)
    return [_score(a[:, column], b[:, column]) for column in range(a.shape[1])]


def micro_f1(known: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return the F1 of all cells together; 0 if no label is known or predicted."""
    a, b = _pair(known, predicted)
    return _score(a, b).f1


def macro_f1(known: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return the mean F1 over the labels that are known or predicted in any row; 0 for none."""
    a, b = _pair(known, predicted)
    used = np.flatnonzero((a | b).any(axis=0))
    scores = [_score(a[:, column], b[:, column]).f1 for column in used]
    return sum(scores) / len(scores) if scores else 0.0


def subset_accuracy(known: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return the share of rows whose labels are all right; 0 for no rows."""
    a, b = _pair(known, predicted)
    return float((a == b).all(axis=1).mean()) if len(a) else 0.0


def hamming_loss(known: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return the share of cells that are wrong, so less is better; 0 for no cells."""
    a, b = _pair(known, predicted)
    return float((a != b).mean()) if a.size else 0.0


def tune_threshold(probabilities: npt.ArrayLike, known: npt.ArrayLike) -> float:
    """Return the one threshold for all labels with the best micro-F1; a label is chosen from it on.

    Every cut between two different probabilities is tried, so no other threshold does better on
    these rows, which must be those of validation. The threshold is in the middle between the
    probabilities it parts; of equally good ones it is the nearest to 0.5. With no known label it
    is 0.5.

    Args:
        probabilities: Of each label of each row, `(rows, labels)`.
        known: Which labels each row has, of the same shape.

    Raises:
        ValueError: If the shapes differ or are no matrices.
        DataError: If a probability is not a number.
    """
    sure = np.asarray(probabilities)
    has, _ = _pair(known, np.zeros(sure.shape, dtype=bool))
    if np.isnan(sure).any():
        raise DataError(
            f"{int(np.isnan(sure).sum())} of {sure.size} probabilities are not a number, so no "
            f"threshold parts them. Look for why the model gives none."
        )
    positives = int(has.sum())
    if not positives:
        return 0.5
    order = np.argsort(-sure, axis=None, kind="stable")
    values, right = sure.ravel()[order], np.cumsum(has.ravel()[order])
    # A cut cannot part equal probabilities, so only the last of equal ones can end the chosen.
    ends = np.append(np.flatnonzero(values[:-1] > values[1:]), len(values) - 1)
    f1 = 2 * right[ends] / (ends + 1 + positives)
    best = ends[f1 == f1.max()]
    lowest, below = values[best], np.append(values[1:], np.minimum(values[-1:], 0))[best]
    middles = below + (lowest - below) / 2
    # Between neighbours among the floats of the given precision there is no middle.
    thresholds = np.where(middles > below, middles, lowest)
    return float(thresholds[np.abs(thresholds - 0.5).argmin()])


def _score(known: _Bools, predicted: _Bools) -> LabelScore:
    right = int((known & predicted).sum())
    return LabelScore.of(right=right, chosen=int(predicted.sum()), support=int(known.sum()))


def _pair(known: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[_Bools, _Bools]:
    a, b = np.asarray(known, dtype=bool), np.asarray(predicted, dtype=bool)
    if a.size == b.size == 0:
        columns = a.shape[1] if a.ndim == 2 else 0
        return np.zeros((0, columns), dtype=bool), np.zeros((0, columns), dtype=bool)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"Known labels have the shape {a.shape} and predicted ones {b.shape}; "
            f"give two matrices of rows by labels."
        )
    return a, b
