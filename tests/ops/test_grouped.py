"""One batched product equals the rows one by one, outputs and gradients."""

import pytest
import torch

from inlay.ops import naive
from inlay.ops.grouped import Slots, grouped_linear, grouped_scale


@pytest.mark.parametrize("counts", [(2, 2, 2), (3, 1, 4), (1, 1), (5,)])
@pytest.mark.parametrize("middle", [(3,), (), (2, 3)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_its_naive_twin(counts, middle, with_bias):
    def run(function, slots):
        generator = torch.Generator().manual_seed(1)
        shapes = ((sum(counts), *middle, 7), (len(counts), 5, 7), (len(counts), 5))
        x, weight, bias = (
            torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
            for shape in shapes
        )
        result = function(x, weight, bias if with_bias else None, slots)
        (result * torch.arange(result.numel()).view_as(result)).sum().backward()
        return result, x.grad, weight.grad, bias.grad

    fast = run(grouped_linear, Slots(counts))
    for one, two in zip(fast, run(naive.grouped_linear, counts), strict=True):
        if one is not None or two is not None:
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("counts", [(2, 2, 2), (3, 1, 4), (5,)])
@pytest.mark.parametrize("middle", [(3,), (), (2, 3)])
@pytest.mark.parametrize("width", [5, 1])
def test_scaled_rows_equal_their_naive_twin(counts, middle, width):
    def run(function, slots):
        generator = torch.Generator().manual_seed(1)
        x, factors = (
            torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
            for shape in ((sum(counts), *middle, 5), (len(counts), width))
        )
        result = function(x, factors, slots)
        (result * torch.arange(result.numel()).view_as(result)).sum().backward()
        return result, x.grad, factors.grad

    fast = run(grouped_scale, Slots(counts))
    for one, two in zip(fast, run(naive.grouped_scale, counts), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_slots():
    slots = Slots((2, 1))
    assert slots.even is None
    assert Slots((3, 3)).even == 3
    assert slots.of_rows(torch.tensor([[5], [6]])).tolist() == [[5], [5], [6]]
