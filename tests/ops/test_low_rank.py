"""The low-rank update equals the full matrix, outputs and gradients."""

import pytest
import torch

from inlay.ops import naive
from inlay.ops.low_rank import low_rank, low_rank_weight


@pytest.mark.parametrize(("rows", "rank", "wide", "out"), [(1, 1, 1, 3), (5, 3, 7, 63)])
def test_equals_its_naive_twin(rows, rank, wide, out):
    def run(function):
        generator = torch.Generator().manual_seed(1)
        x, a, b = (
            torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
            for shape in ((2, rows, wide), (rank, wide), (out, rank))
        )
        result = function(x, a, b, 0.7)
        (result * torch.arange(result.numel()).view_as(result)).sum().backward()
        return result, x.grad, a.grad, b.grad

    for fast, slow in zip(run(low_rank), run(naive.low_rank), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


def test_the_weight_gives_the_same_update():
    x, a, b = torch.randn(4, 6), torch.randn(3, 6), torch.randn(5, 3)
    torch.testing.assert_close(x @ low_rank_weight(a, b, 1.7).T, low_rank(x, a, b, 1.7))
    low = low_rank_weight(a.bfloat16(), b.bfloat16(), 2.0)
    assert low.dtype == torch.float32, "a merge is computed in at least float32"


def test_the_result_has_the_factors_precision():
    x = torch.randn(2, 6, dtype=torch.bfloat16)
    assert low_rank(x, torch.randn(3, 6), torch.randn(5, 3), 1.0).dtype == torch.float32
