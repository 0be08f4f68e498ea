"""One number from counts of rows: its value, interval and difference."""

import math

import numpy as np
import pytest

from inlay.metrics.headline import Headline
from inlay.metrics.significance import mcnemar

RIGHT = Headline("accuracy")
F1 = Headline("entity_f1", "f1")
PERPLEXITY = Headline("perplexity", "perplexity")


def draw(seed, number=80):
    generator = np.random.default_rng(seed)
    known = generator.integers(1, 5, number)
    found = generator.integers(0, 5, number)
    hits = np.minimum(known, found) * generator.integers(0, 2, number)
    return np.stack([hits, found, known], 1).astype(float)


def test_values_by_hand():
    assert RIGHT.value([(1, 1), (0, 1), (1, 1), (1, 1)]) == 0.75
    counts = draw(1)
    hits, found, known = counts.sum(0)
    precision, recall = hits / found, hits / known
    assert F1.value(counts) == pytest.approx(2 * precision * recall / (precision + recall))
    assert PERPLEXITY.value([(2.0, 4), (3.0, 1)]) == pytest.approx(math.exp(1.0))


@pytest.mark.parametrize("headline", [RIGHT, F1, PERPLEXITY])
def test_no_rows(headline):
    assert headline.value([]) == 0.0
    assert headline.interval([]) == (0.0, 0.0)
    assert headline.difference([], []).mean == 0.0


def test_rows_on_their_own():
    assert RIGHT.row_value((0.4, 1)) == pytest.approx(0.4)
    assert F1.row_value((0, 0, 0)) == 1.0, "nothing to find and nothing found"
    assert F1.row_value((1, 2, 1)) == pytest.approx(2 / 3)
    assert PERPLEXITY.row_value((2.0, 2)) == pytest.approx(-math.e)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_is_that_of_a_slow_bootstrap(seed):
    counts = draw(seed)
    generator = np.random.default_rng(seed + 100)
    values = []
    for _ in range(3000):
        rows = counts[generator.integers(0, len(counts), len(counts))]
        hits, found, known = rows.sum(0)
        values.append(2 * hits / (found + known))
    low, high = F1.interval(counts)
    assert low == pytest.approx(np.quantile(values, 0.025), abs=0.02)
    assert high == pytest.approx(np.quantile(values, 0.975), abs=0.02)
    assert low < F1.value(counts) < high
    assert F1.interval(counts) == (low, high), "seeded"


def test_right_and_wrong_rows_are_compared_by_mcnemar():
    a = [(float(n % 2), 1.0) for n in range(40)]
    b = [(1.0, 1.0)] * 30 + a[30:]
    found = RIGHT.difference(a, b)
    assert (found.fixed, found.broken, found.p_value) == (15, 0, mcnemar(15, 0))
    assert found.mean == pytest.approx(15 / 40)


def test_a_better_f1_is_beyond_noise_and_equal_ones_are_not():
    worse = draw(5, 300)
    better = worse.copy()
    better[:, 0] = np.minimum(better[:, 1], better[:, 2])
    found = F1.difference(worse, better)
    assert found.mean == pytest.approx(F1.value(better) - F1.value(worse))
    assert found.low > 0
    assert found.is_beyond_noise
    assert found.fixed > 0 == found.broken
    assert not F1.difference(worse, worse).is_beyond_noise


def test_a_lower_perplexity_is_a_gain():
    before = [(float(n % 7) + 2, 3.0) for n in range(50)]
    after = [(nll - 0.5, tokens) for nll, tokens in before]
    found = PERPLEXITY.difference(before, after)
    assert found.mean == pytest.approx(PERPLEXITY.value(before) - PERPLEXITY.value(after))
    assert found.mean > 0 < found.low
    assert (found.fixed, found.broken) == (50, 0)
    assert PERPLEXITY.lower_is_better and not PERPLEXITY.is_fraction
