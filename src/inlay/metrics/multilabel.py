"""Metrics of sets of labels, and the threshold that chooses them."""

from typing import Any

import numpy as np
from sklearn import metrics as sk


def label_scores(known: Any, chosen: Any) -> dict[str, float]:
    """Return micro and macro F1, the share of rows with all labels right, and the Hamming loss.

    Args:
        known: `(rows, labels)`, whether a row has a label.
        chosen: The same for what was predicted.
    """
    truth, guess = np.asarray(known, dtype=bool), np.asarray(chosen, dtype=bool)
    f1 = {
        average: float(sk.f1_score(truth, guess, average=average, zero_division=0.0))
        for average in ("micro", "macro")
    }
    return {
        "micro_f1": f1["micro"], "macro_f1": f1["macro"],
        "subset_accuracy": float((truth == guess).all(axis=1).mean()),
        "hamming_loss": float((truth != guess).mean()),
    }  # fmt: skip


def tune_threshold(probabilities: Any, known: Any) -> float:
    """Return the one threshold for all labels with the best micro F1.

    Every cut between two different probabilities is tried; of equal ones the one nearest to 0.5 is
    taken.

    Args:
        probabilities: `(rows, labels)`, in [0, 1].
        known: `(rows, labels)`, whether a row has a label.
    """
    likely = np.asarray(probabilities, dtype=float).ravel()
    truth = np.asarray(known, dtype=bool).ravel()
    order = np.argsort(-likely, kind="stable")
    likely, truth = likely[order], truth[order]
    hits = np.cumsum(truth)
    scores = 2 * hits / (np.arange(1, len(hits) + 1) + max(1, truth.sum()))
    is_cut = np.append(likely[:-1] > likely[1:], True)
    following = np.append(likely[1:], 0.0)
    middles = (likely + following) / 2
    best = scores[is_cut].max()
    near = middles[is_cut & (scores >= best - 1e-12)]
    return float(near[np.abs(near - 0.5).argmin()])
