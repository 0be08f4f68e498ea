"""Metrics of many labels against scikit-learn, and the threshold against a full search."""

import numpy as np
import pytest
from sklearn import metrics as reference

from inlay.errors import DataError
from inlay.metrics.multilabel import (
    each_label,
    hamming_loss,
    label_scores,
    macro_f1,
    micro_f1,
    subset_accuracy,
    tune_threshold,
)


def draws(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels, and probabilities that are higher where a label is known."""
    generator = np.random.default_rng(seed)
    shape = int(generator.integers(1, 40)), int(generator.integers(2, 9))
    known = generator.random(shape) < 0.3
    probabilities = np.clip(generator.random(shape) * 0.8 + 0.2 * known, 0, 1)
    return known, probabilities.round(1) if seed % 2 else probabilities


@pytest.mark.parametrize("seed", range(40))
def test_metrics_equal_those_of_scikit_learn(seed):
    known, probabilities = draws(seed)
    predicted = probabilities > 0.55
    options = {"zero_division": 0}
    expected = reference.f1_score(known, predicted, average="micro", **options)
    assert micro_f1(known, predicted) == pytest.approx(expected, abs=1e-12)
    used = known.any(axis=0) | predicted.any(axis=0)
    each = reference.precision_recall_fscore_support(known, predicted, **options)
    for column, score in enumerate(each_label(known, predicted)):
        found = (score.precision, score.recall, score.f1, score.support)
        assert found == pytest.approx(tuple(part[column] for part in each), abs=1e-12)
    expected = each[2][used].mean() if used.any() else 0.0
    assert macro_f1(known, predicted) == pytest.approx(expected, abs=1e-12)
    expected = reference.accuracy_score(known, predicted)
    assert subset_accuracy(known.tolist(), predicted.tolist()) == pytest.approx(expected)
    expected = reference.hamming_loss(known, predicted)
    assert hamming_loss(known, predicted) == pytest.approx(expected)
    assert label_scores(known, predicted) == {
        "micro_f1": micro_f1(known, predicted),
        "macro_f1": macro_f1(known, predicted),
        "subset_accuracy": subset_accuracy(known, predicted),
        "hamming_loss": hamming_loss(known, predicted),
    }


@pytest.mark.parametrize("seed", range(40))
def test_no_threshold_does_better(seed):
    known, probabilities = draws(seed)
    threshold = tune_threshold(probabilities, known)
    found = micro_f1(known, probabilities >= threshold)
    values = np.unique(probabilities)
    tried = [*values, *((values[1:] + values[:-1]) / 2), 2.0]
    best = max(micro_f1(known, probabilities >= cut) for cut in tried)
    assert found == pytest.approx(best, abs=1e-12)
    assert found > 0 or not known.any()


def test_the_threshold_is_in_the_middle_of_the_best_cut_nearest_to_one_half():
    probabilities = [[0.9, 0.8], [0.3, 0.1]]
    assert tune_threshold(probabilities, [[1, 1], [0, 0]]) == pytest.approx(0.55)
    # Below the lowest there is 0.
    assert tune_threshold(probabilities, [[1, 1], [1, 1]]) == 0.05
    assert tune_threshold([[0.0, 0.0]], [[1, 0]]) == 0.0
    assert tune_threshold(probabilities, [[0, 0], [0, 0]]) == tune_threshold([], []) == 0.5
    # F1 is 2/3 both with the first alone, from 0.85 on, and with all, from 0.05 on.
    assert tune_threshold(probabilities, [[1, 0], [0, 1]]) == pytest.approx(0.85)
    # All alike can only be chosen together.
    assert tune_threshold([[0.4, 0.4]], [[1, 0]]) == 0.2


@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("start", [0.1, 0.3, 0.5, 0.7])
def test_neighbouring_floats_are_parted(precision, start):
    low = precision(start)
    high = np.nextafter(low, precision(1))
    for values, known in (([low, high], [0, 1]), ([high, low], [1, 0])):
        threshold = tune_threshold([values], [known])
        assert micro_f1([known], np.asarray([values]) >= threshold) == 1


def test_edges():
    assert micro_f1([], []) == macro_f1([], []) == subset_accuracy([], []) == 0
    assert hamming_loss([], []) == 0 and each_label([], []) == []
    nothing = np.zeros((3, 4), dtype=bool)
    assert micro_f1(nothing, nothing) == macro_f1(nothing, nothing) == 0
    assert subset_accuracy(nothing, nothing) == 1 and hamming_loss(nothing, nothing) == 0
    # The third label is neither known nor predicted and does not count.
    assert macro_f1([[1, 1, 0]], [[1, 0, 0]]) == 0.5


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"shape \(1, 2\) and predicted ones \(1, 3\)"):
        micro_f1([[1, 0]], [[1, 0, 1]])
    with pytest.raises(ValueError, match="give two matrices of rows by labels"):
        subset_accuracy([1, 0], [1, 0])
    with pytest.raises(DataError, match="1 of 2 probabilities are not a number"):
        tune_threshold([[0.5, float("nan")]], [[1, 0]])
