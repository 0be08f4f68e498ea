"""Intervals and tests against exact sums and simulation."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import stats

from inlay.errors import DataError
from inlay.metrics.classification import macro_f1
from inlay.metrics.significance import (
    bootstrap_interval,
    bootstrap_metric,
    mcnemar,
    paired_difference,
    sign_flip,
)


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


@pytest.mark.parametrize("seed", range(8))
def test_sign_flips_of_few_rows_are_all_tried(seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(0.5, 1.0, int(generator.integers(2, 13)))
    if seed % 2:
        values = values.round(1)  # sums that are equal, but for rounding
    expected = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=10_000
    )
    assert sign_flip(values.tolist()) == pytest.approx(expected.pvalue)
    # A row with no difference says nothing.
    assert sign_flip([0.0, *values.tolist(), 0.0]) == sign_flip(values.tolist())


def test_sign_flips_of_many_rows_are_drawn():
    values = np.random.default_rng(1).normal(0.2, 1.0, 90)
    found = sign_flip(values.tolist(), seed=5)
    assert found == sign_flip(values.tolist(), seed=5) != sign_flip(values.tolist(), seed=6)
    # With so many rows the test is near that of a normal mean.
    expected = stats.norm.sf(abs(values.sum()) / np.sqrt((values**2).sum())) * 2
    assert 0.01 < expected < 0.5
    assert found == pytest.approx(expected, abs=0.02)
    assert sign_flip([1.5] * 60) == pytest.approx(1 / 10_001)
    # More rows than fit into memory at once with all draws.
    assert sign_flip([1.0, -1.0] * 1000 + [0.5]) > 0.9


def test_mcnemar_is_the_sign_flip_test_of_right_and_wrong():
    assert sign_flip([1.0] * 9 + [-1.0] * 3) == pytest.approx(mcnemar(9, 3))
    assert sign_flip([1.0] * 30 + [-1.0] * 14, seed=2) == pytest.approx(mcnemar(30, 14), abs=0.005)
    assert sign_flip([]) == sign_flip([0.0]) == 1


def test_sign_flips_of_alike_systems_reject_as_often_as_they_say():
    generator = np.random.default_rng(8)
    values = [sign_flip(generator.standard_t(3, 11).tolist()) for _ in range(400)]
    assert 0.02 < np.mean(np.asarray(values) <= 0.05) < 0.08


def test_paired_difference_of_scores():
    generator = np.random.default_rng(2)
    a = generator.random(80)
    b = a + generator.normal(0.05, 0.1, 80)
    found = paired_difference(a.tolist(), b.tolist(), seed=3)
    assert found.mean == pytest.approx((b - a).mean())
    assert (found.low, found.high) == bootstrap_interval((b - a).tolist(), seed=3)
    assert found.p_value == sign_flip((b - a).tolist(), seed=3) < 0.05
    assert (found.fixed, found.broken) == (int((b > a).sum()), int((b < a).sum()))
    assert found.is_beyond_noise
    other = paired_difference(b.tolist(), a.tolist(), seed=3)
    assert (other.mean, other.fixed) == (-found.mean, found.broken)
    assert not paired_difference([0.2, 0.4, 0.9], [0.3, 0.5, 0.95]).is_beyond_noise


def test_bootstrap_metric_of_a_mean_is_near_the_interval_of_the_mean():
    values = np.random.default_rng(6).normal(1.0, 2.0, 300).tolist()
    low, high = bootstrap_metric(values, lambda rows: sum(rows) / len(rows), 1)
    expected = bootstrap_interval(values)
    width = expected[1] - expected[0]
    assert (low, high) == pytest.approx(expected, abs=0.1 * width)
    inner = bootstrap_metric(values, lambda rows: sum(rows) / len(rows), 1, level=0.5)
    assert low < inner[0] < inner[1] < high


def test_bootstrap_metric_covers_the_true_macro_f1():
    # Of balanced labels, of which 4 in 5 are right, macro-F1 is 0.8.
    generator, hits = np.random.default_rng(9), 0
    for trial in range(60):
        known = generator.integers(0, 2, 80)
        predicted = np.where(generator.random(80) < 0.8, known, 1 - known)
        rows = list(zip(known.tolist(), predicted.tolist(), strict=True))
        low, high = bootstrap_metric(
            rows,
            lambda drawn: macro_f1(*map(list, zip(*drawn, strict=True))),
            trial,
            level=0.8,
            resamples=100,
        )
        hits += low <= 0.8 <= high
    assert 0.65 <= hits / 60 <= 0.95


def test_bootstrap_metric_keeps_rows_whole_and_depends_on_the_seed_alone():
    rows = [("a", 1.0), ("b", 3.0), ("c", 5.0), ("d", 11.0), ("e", 2.5)]
    known = dict(rows)

    def spread(drawn):
        assert len(drawn) == len(rows)
        assert all(known[name] == value for name, value in drawn)
        return max(value for _, value in drawn)

    found = {bootstrap_metric(rows, spread, seed, resamples=20) for seed in range(6)}
    assert len(found) > 1
    assert bootstrap_metric(rows, spread, 2) == bootstrap_metric(rows, spread, 2)
    assert bootstrap_metric([], spread) == (0.0, 0.0)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="first system has 1 scores and the second 2"):
        paired_difference([0.5], [0.5, 1.0])
    with pytest.raises(DataError, match="not finite, so two systems cannot be compared"):
        paired_difference([0.5, 1.0], [0.5, float("nan")])
