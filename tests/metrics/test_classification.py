"""Classification metrics against scikit-learn on random inputs."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from inlay.metrics.classification import (
    accuracy,
    calibration_error,
    confusions,
    macro_f1,
    matthews,
    out_of_scope_scores,
    per_label,
)


def draws(seed: int) -> tuple[list[str], list[str]]:
    """Make known and predicted labels that agree more often than by chance."""
    generator = np.random.default_rng(seed)
    names = [f"label {number}" for number in range(generator.integers(2, 9))]
    rows = int(generator.integers(1, 120))
    known = generator.choice(names, rows)
    guesses = generator.choice(names, rows)
    agrees = generator.random(rows) < generator.random()
    return known.tolist(), np.where(agrees, known, guesses).tolist()


@pytest.mark.parametrize("seed", range(40))
def test_metrics_equal_those_of_scikit_learn(seed):
    known, predicted = draws(seed)
    names = sorted({*known, *predicted})
    assert math.isclose(
        accuracy(known, predicted), reference.accuracy_score(known, predicted), abs_tol=1e-9
    )
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        known, predicted, labels=names, zero_division=0
    )
    ours = per_label(known, predicted)
    assert set(ours) == set(names)
    for index, name in enumerate(names):
        score = ours[name]
        found = (score.precision, score.recall, score.f1, score.support)
        expected = (precision[index], recall[index], f1[index], support[index])
        assert found == pytest.approx(expected, abs=1e-9)
    assert macro_f1(known, predicted) == pytest.approx(np.mean(f1), abs=1e-9)
    if len(names) > 1:
        expected = reference.matthews_corrcoef(known, predicted)
        assert matthews(known, predicted) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_confusions_are_the_off_diagonal_of_the_matrix(seed):
    known, predicted = draws(100 + seed)
    names = sorted({*known, *predicted})
    matrix = reference.confusion_matrix(known, predicted, labels=names)
    found = confusions(known, predicted)
    counts = {(k, p): count for k, p, count in found}
    assert len(counts) == len(found)
    for row, k in enumerate(names):
        for column, p in enumerate(names):
            expected = 0 if row == column else matrix[row, column]
            assert counts.get((k, p), 0) == expected
    numbers = [count for _, _, count in found]
    assert numbers == sorted(numbers, reverse=True)


@pytest.mark.parametrize("num_bins", [1, 4, 15])
def test_calibration_error_equals_its_definition(num_bins):
    generator = np.random.default_rng(num_bins)
    sure = [*generator.random(200).tolist(), 0.0, 1.0, 1.0]
    correct = (generator.random(203) < 0.6).tolist()
    expected = 0.0
    for number in range(num_bins):
        low, high = number / num_bins, (number + 1) / num_bins
        is_last = number == num_bins - 1
        inside = [
            (s, c)
            for s, c in zip(sure, correct, strict=True)
            if low <= s < high or (is_last and s == 1.0)
        ]
        gap = abs(sum(c for _, c in inside) - sum(s for s, _ in inside))
        expected += gap / len(sure)
    assert calibration_error(sure, correct, num_bins=num_bins) == pytest.approx(expected, abs=1e-9)


def test_honest_confidences_have_no_calibration_error():
    sure = [0.75] * 4 + [0.5] * 2
    assert calibration_error(sure, [True, True, True, False, True, False]) == pytest.approx(0)
    assert calibration_error(sure, [False] * 6) == pytest.approx((4 * 0.75 + 2 * 0.5) / 6)


def test_no_rows_and_one_label_give_numbers():
    assert accuracy([], []) == macro_f1([], []) == matthews([], []) == 0.0
    assert calibration_error([], []) == 0.0
    assert per_label([], []) == {}
    assert matthews(["a", "a"], ["a", "a"]) == 0.0
    assert accuracy(["a", "a"], ["a", "a"]) == macro_f1(["a", "a"], ["a", "a"]) == 1.0


def test_a_label_that_is_only_predicted_lowers_macro_f1():
    # a: precision 1, recall 2/3, F1 0.8; b is never right.
    assert macro_f1(["a", "a", "a"], ["a", "a", "b"]) == pytest.approx(0.4)


@pytest.mark.parametrize("metric", [accuracy, macro_f1, matthews, confusions, per_label])
def test_rows_must_pair_up(metric):
    with pytest.raises(ValueError, match="shorter than argument 1"):
        metric(["a", "b"], ["a"])


@pytest.mark.parametrize("seed", range(12))
def test_out_of_scope_scores_equal_those_of_scikit_learn(seed):
    known, predicted = draws(seed)
    label = "label 0"
    generator = np.random.default_rng(seed)
    likely = [(name == label) / 3 + generator.random() for name in predicted]
    found = out_of_scope_scores(known, predicted, likely, label)
    outside = [name == label for name in known]
    answered = [name == label for name in predicted]
    assert found["n_out_of_scope"] == sum(outside)
    if any(outside):
        assert found["out_of_scope_recall"] == reference.recall_score(outside, answered)
    if any(answered):
        assert found["out_of_scope_precision"] == reference.precision_score(outside, answered)
    if any(outside) and not all(outside):
        area = reference.roc_auc_score(outside, likely)
        assert found["out_of_scope_auroc"] == pytest.approx(area, abs=1e-12)
    inside = [pair for pair in zip(known, predicted, strict=True) if pair[0] != label]
    if inside:
        assert found["in_scope_accuracy"] == reference.accuracy_score(*zip(*inside, strict=True))


def test_what_has_no_rows_gets_no_score():
    assert out_of_scope_scores(["a", "b"], ["a", "a"], [0.1, 0.2], "oos") == {
        "in_scope_accuracy": 0.5, "n_out_of_scope": 0
    }  # fmt: skip
    assert out_of_scope_scores(["oos"], ["a"], [0.4], "oos") == {
        "out_of_scope_recall": 0.0, "n_out_of_scope": 1
    }  # fmt: skip
