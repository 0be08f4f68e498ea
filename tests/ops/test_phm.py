"""Sums of Kronecker products equal their definition, outputs and gradients."""

import pytest
import torch

from inlay.ops import naive
from inlay.ops import phm as ops
from inlay.ops.phm import phm_linear, phm_weight


def drawn(n, rank, wide, out, *, lead=()):
    generator = torch.Generator().manual_seed(n + wide)
    shapes = ((*lead, n, n, n), (*lead, n, out // n, rank), (*lead, n, rank, wide // n))
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in (*shapes, (*lead, out))
    )


@pytest.mark.parametrize(
    ("n", "rank", "wide", "out", "forms"),
    [
        (3, 1, 21, 9, False),
        (3, 2, 15, 21, False),
        (2, 3, 4, 6, True),
        (1, 1, 7, 5, False),
        (1, 2, 1, 3, True),
    ],
)
def test_both_ways_equal_the_naive_twin(n, rank, wide, out, forms, monkeypatch):
    formed = []

    def noted(*factors):
        formed.append(factors)
        return phm_weight(*factors)

    monkeypatch.setattr(ops, "phm_weight", noted)

    def run(function):
        factors = drawn(n, rank, wide, out)
        x = torch.linspace(-1, 2, 2 * 5 * wide, dtype=torch.float64).view(2, 5, wide)
        x.requires_grad_()
        result = function(x, *factors)
        (result * torch.arange(result.numel()).view_as(result)).sum().backward()
        return result, x.grad, *(factor.grad for factor in factors)

    for fast, slow in zip(run(phm_linear), run(naive.phm_linear), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    assert bool(formed) is forms, "the way is chosen by the number of multiplications"


def test_the_weight_is_the_sum_of_kronecker_products():
    rule, left, right, _ = drawn(3, 2, 6, 15)
    expected = sum(torch.kron(rule[i], left[i] @ right[i]) for i in range(3))
    torch.testing.assert_close(phm_weight(rule, left, right), expected)


def test_weights_of_several_maps_at_once():
    rule, left, right, _ = drawn(2, 3, 6, 4, lead=(5,))
    together = phm_weight(rule, left, right)
    for i in range(5):
        torch.testing.assert_close(together[i], phm_weight(rule[i], left[i], right[i]))
