"""pass@k against the count of all choices of k programs."""

import itertools
import math

import pytest

from inlay.metrics.pass_at import mean_pass_at, pass_at


@pytest.mark.parametrize("written", [1, 2, 5, 7])
def test_it_is_the_share_of_choices_with_a_program_that_passes(written):
    for passed in range(written + 1):
        programs = [number < passed for number in range(written)]
        for k in range(1, written + 1):
            choices = list(itertools.combinations(programs, k))
            expected = sum(any(choice) for choice in choices) / len(choices)
            found = pass_at(k, passed=passed, written=written)
            assert found == pytest.approx(expected, abs=1e-12)


def test_large_numbers_stay_exact():
    expected = 1 - math.comb(200 - 13, 100) / math.comb(200, 100)
    assert pass_at(100, passed=13, written=200) == pytest.approx(expected, rel=1e-12)


def test_the_biased_estimate_is_another_number():
    assert abs(pass_at(10, passed=2, written=20) - (1 - (1 - 2 / 20) ** 10)) > 0.05


def test_the_mean_is_over_rows():
    assert mean_pass_at(1, [(0, 4), (1, 4), (4, 4)]) == pytest.approx(5 / 12)
    assert mean_pass_at(1, []) == 0.0


@pytest.mark.parametrize(("k", "passed", "written"), [(3, 1, 2), (0, 1, 2), (1, 3, 2), (1, -1, 2)])
def test_numbers_that_do_not_fit(k, passed, written):
    with pytest.raises(ValueError, match=rf"pass@{k} of {passed} in {written} is not defined"):
        pass_at(k, passed=passed, written=written)
