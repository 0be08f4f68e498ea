"""Metrics of regression against scipy and scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from inlay.errors import DataError
from inlay.metrics.regression import mae, mse, pearson, spearman

ALL = [mse, mae, pearson, spearman]


def draws(seed: int) -> tuple[list[float], list[float]]:
    """Draw numbers that correlate; every other seed has many ties."""
    generator = np.random.default_rng(seed)
    rows = int(generator.integers(3, 80))
    known = generator.normal(3.0, 2.0, rows)
    predicted = generator.normal() * known + generator.normal(-1.0, 1.5, rows)
    if seed % 2:
        known, predicted = known.round(), predicted.round()
    return known.tolist(), predicted.tolist()


@pytest.mark.parametrize("seed", range(40))
def test_metrics_equal_the_references(seed):
    known, predicted = draws(seed)
    assert mse(known, predicted) == pytest.approx(reference.mean_squared_error(known, predicted))
    assert mae(known, predicted) == pytest.approx(reference.mean_absolute_error(known, predicted))
    if len(set(known)) > 1 and len(set(predicted)) > 1:
        expected = stats.pearsonr(known, predicted).statistic
        assert pearson(known, predicted) == pytest.approx(expected, abs=1e-12)
        expected = stats.spearmanr(known, predicted).statistic
        assert spearman(known, predicted) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=20))
def test_spearman_with_ties(rows):
    known, predicted = ([float(value) for value in side] for side in zip(*rows, strict=True))
    if len(set(known)) > 1 and len(set(predicted)) > 1:
        expected = stats.spearmanr(known, predicted).statistic
        assert spearman(known, predicted) == pytest.approx(expected, abs=1e-9)
    else:
        assert spearman(known, predicted) == 0


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
def test_correlations_do_not_depend_on_the_scale(scale):
    known, predicted = draws(4)
    scaled = [scale * value for value in predicted]
    assert pearson(known, scaled) == pytest.approx(pearson(known, predicted), abs=1e-12)
    assert pearson(scaled, known) == pytest.approx(pearson(known, predicted), abs=1e-12)
    assert pearson(known, [-value for value in known]) == pytest.approx(-1)


def test_constant_sides_give_zero_without_a_warning():
    varied, constant = [0.3, 0.1, 0.7], [0.1] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in (pearson, spearman):
            assert metric(varied, constant) == metric(constant, varied) == 0
            assert metric(constant, constant) == metric([0.0] * 3, varied) == 0
            assert metric([], []) == metric([1.0], [2.0]) == 0
        assert mse([], []) == mae([], []) == 0
    assert (mse([1.0], [3.0]), mae([1.0], [3.0])) == (4, 2)


@pytest.mark.parametrize("metric", ALL)
def test_mistakes_are_named(metric):
    with pytest.raises(ValueError, match=r"shape \(2,\) and predicted ones \(1,\)"):
        metric([1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="predicted number of row 1 is nan; 2 of 3 are not finite"):
        metric([1.0, 2.0, 3.0], [1.0, float("nan"), float("inf")])
