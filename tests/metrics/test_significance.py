"""Intervals and tests against exact sums and simulation."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from inlay.metrics.significance import bootstrap_interval, mcnemar, paired_difference


def exact_p(fixed: int, broken: int) -> float:
    """Sum the binomial tail without any rounding."""
    rows = fixed + broken
    tail = sum(comb(rows, k) for k in range(min(fixed, broken) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**rows)))


@pytest.mark.parametrize("rows", [1, 2, 5, 9, 24, 61])
def test_mcnemar_equals_the_exact_binomial(rows):
    for fixed in range(rows + 1):
        expected = exact_p(fixed, rows - fixed)
        assert mcnemar(fixed, rows - fixed) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_thousands_of_rows_does_not_overflow():
    assert mcnemar(1200, 1300) == pytest.approx(exact_p(1200, 1300), rel=1e-8)
    assert mcnemar(0, 0) == 1.0


def test_bootstrap_interval_covers_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(3)
    chance, trials, level, hits, wider = 0.7, 100, 0.8, 0, 0
    for trial in range(trials):
        values = (generator.random(120) < chance).astype(float).tolist()
        low, high = bootstrap_interval(values, seed=trial, level=level)
        hits += low <= chance <= high
        outer = bootstrap_interval(values, seed=trial)
        wider += outer[0] < low < high < outer[1]
    assert 0.70 <= hits / trials <= 0.90
    assert wider == trials


def test_bootstrap_interval_is_near_the_normal_one_for_many_rows():
    values = np.random.default_rng(4).normal(2.0, 3.0, 4000)
    error = values.std() / len(values) ** 0.5
    low, high = bootstrap_interval(values.tolist())
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_bootstrap_interval_depends_on_the_seed_alone():
    values = [0.0, 1.0, 1.0, 0.0, 1.0, 0.5, 0.25]
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    found = {bootstrap_interval(values, seed=seed) for seed in range(8)}
    assert len(found) > 1
    assert bootstrap_interval([]) == (0.0, 0.0)
    assert bootstrap_interval([0.25] * 9) == (0.25, 0.25)


def test_paired_difference_counts_what_was_fixed_and_broken():
    a = [True] * 30 + [False] * 20 + [True] * 4
    b = [True] * 30 + [True] * 20 + [False] * 4
    found = paired_difference(a, b)
    assert (found.fixed, found.broken) == (20, 4)
    assert found.mean == pytest.approx(16 / 54)
    assert found.p_value == pytest.approx(exact_p(20, 4))
    assert found.is_beyond_noise
    assert 0 < found.low < found.mean < found.high
    other = paired_difference(b, a)
    assert (other.mean, other.fixed, other.broken) == (-found.mean, 4, 20)
    assert other.high < 0


def test_systems_that_answer_alike_do_not_differ():
    same = paired_difference([True, False, True], [True, False, True])
    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1.0)
    assert not same.is_beyond_noise
    nothing = paired_difference([], [])
    assert (nothing.mean, nothing.p_value) == (0.0, 1.0)
    close = paired_difference([True] * 5 + [False] * 6, [False] * 5 + [True] * 6)
    assert not close.is_beyond_noise
