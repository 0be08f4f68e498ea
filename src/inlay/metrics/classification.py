"""Classification metrics from known and predicted labels; labels are any hashable values."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from inlay.metrics.ranks import auroc


@final
@dataclass(frozen=True, slots=True)
class LabelScore:
    """Precision, recall and F1 of one label; 0 where a quotient is not defined."""

    precision: float
    recall: float
    f1: float
    support: int

    @classmethod
    def of(cls, *, right: int, chosen: int, support: int) -> "LabelScore":
        """Score a label that was chosen so often, rightly so often, and is known so often."""
        precision = right / chosen if chosen else 0.0
        recall = right / support if support else 0.0
        total = precision + recall
        return cls(precision, recall, 2 * precision * recall / total if total else 0.0, support)


def accuracy(known: Sequence[Hashable], predicted: Sequence[Hashable]) -> float:
    """Return the share of rows that are right; 0 for no rows."""
    if not known:
        return 0.0
    return sum(k == p for k, p in zip(known, predicted, strict=True)) / len(known)


def per_label(
    known: Sequence[Hashable], predicted: Sequence[Hashable]
) -> dict[Hashable, LabelScore]:
    """Score each label that is known or predicted, in order of first occurrence."""
    right = Counter(k for k, p in zip(known, predicted, strict=True) if k == p)
    support, chosen = Counter(known), Counter(predicted)
    return {
        label: LabelScore.of(right=right[label], chosen=chosen[label], support=support[label])
        for label in dict.fromkeys([*known, *predicted])
    }


def out_of_scope_scores(
    known: Sequence[Hashable],
    predicted: Sequence[Hashable],
    likely: Sequence[float],
    label: Hashable,
) -> dict[str, float | int]:
    """Return how well a label is told that stands for "none of these" (Larson et al. 2019).

    `in_scope_accuracy` is over the rows of all other labels, of which one taken for out of scope
    is wrong. `out_of_scope_auroc` does not depend on which label is the most probable one. What
    has no rows, or was never answered, is left out.

    Args:
        known: Labels of the rows.
        predicted: What was answered.
        likely: How probable each row was thought to be out of scope, in [0, 1].
        label: The one that means out of scope.
    """
    inside = [(k, p) for k, p in zip(known, predicted, strict=True) if k != label]
    outside, chosen = len(known) - len(inside), sum(p == label for p in predicted)
    right = chosen - sum(p == label for _, p in inside)
    scores: dict[str, float | int] = {}
    if outside:
        scores["out_of_scope_recall"] = right / outside
    if chosen:
        scores["out_of_scope_precision"] = right / chosen
    area = auroc([k == label for k in known], likely)
    if area is not None:
        scores["out_of_scope_auroc"] = area
    if inside:
        scores["in_scope_accuracy"] = sum(k == p for k, p in inside) / len(inside)
    return {**scores, "n_out_of_scope": outside}


def macro_f1(known: Sequence[Hashable], predicted: Sequence[Hashable]) -> float:
    """Return the mean F1 over the labels that are known or predicted; 0 for no rows."""
    scores = per_label(known, predicted)
    return sum(score.f1 for score in scores.values()) / len(scores) if scores else 0.0


def confusions(
    known: Sequence[Hashable], predicted: Sequence[Hashable]
) -> list[tuple[Hashable, Hashable, int]]:
    """List (known, predicted, count) of the wrong rows, the most frequent first."""
    wrong = Counter((k, p) for k, p in zip(known, predicted, strict=True) if k != p)
    return [(k, p, count) for (k, p), count in wrong.most_common()]


def matthews(known: Sequence[Hashable], predicted: Sequence[Hashable]) -> float:
    """Return Matthews' correlation for any number of labels (Gorodkin 2004); 0 if undefined."""
    right = sum(k == p for k, p in zip(known, predicted, strict=True))
    rows, support, chosen = len(known), Counter(known), Counter(predicted)
    shared = sum(support[label] * chosen[label] for label in support)
    spread = (rows**2 - sum(n * n for n in chosen.values())) * (
        rows**2 - sum(n * n for n in support.values())
    )
    return (right * rows - shared) / spread**0.5 if spread else 0.0


def calibration_error(
    confidences: Sequence[float], correct: Sequence[bool], *, num_bins: int = 15
) -> float:
    """Return the expected calibration error (Guo et al. 2017) over bins of equal width.

    Args:
        confidences: Probability of the chosen label of each row, in [0, 1].
        correct: Whether the row is right.
        num_bins: Number of bins, at least 1.
    """
    if not len(confidences):
        return 0.0
    sure, right = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
    bins = np.minimum((sure * num_bins).astype(int), num_bins - 1)
    error = 0.0
    for number in range(num_bins):
        inside = bins == number
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return float(error)
