"""One batched product equals the rows one by one, outputs and gradients."""

import pytest
import torch

from inlay.ops import naive
from inlay.ops.grouped import Slots, add_grouped_product, grouped_linear, grouped_scale

NUMBERS = [(0, 0, 1, 1, 2, 2), (0, 0, 0, 1, 2, 2), (0, 1), (0,) * 5, (1, 0, 1, 2)]
MIDDLES = [(3,), (), (2, 3)]


def compared(fast, slow, shapes):
    """Compare outputs and the gradients of all arguments."""

    def run(function):
        generator = torch.Generator().manual_seed(1)
        given = [
            torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
            for shape in shapes
        ]
        result = function(*given)
        (result * torch.arange(result.numel()).view_as(result)).sum().backward()
        return result, *(tensor.grad for tensor in given)

    for one, two in zip(run(fast), run(slow), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("middle", MIDDLES)
def test_equals_its_naive_twin(numbers, middle):
    slots = Slots(numbers)
    x, weight, bias = (len(numbers), *middle, 7), (slots.count, 5, 7), (slots.count, 5)
    compared(
        lambda *given: grouped_linear(*given, None, slots),
        lambda *given: naive.grouped_linear(*given, None, numbers),
        (x, weight),
    )
    compared(
        lambda *given: grouped_linear(*given, slots),
        lambda *given: naive.grouped_linear(*given, numbers),
        (x, weight, bias),
    )


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("middle", MIDDLES)
def test_an_added_product_equals_its_naive_twin(numbers, middle):
    slots, rows = Slots(numbers), (len(numbers), *middle)
    compared(
        lambda outputs, *given: add_grouped_product(outputs, *given, slots),
        lambda outputs, *given: outputs + naive.grouped_linear(*given, numbers),
        ((*rows, 7), (*rows, 3), (slots.count, 7, 3), (slots.count, 7)),
    )


def test_an_added_product_keeps_the_precision_of_the_outputs():
    slots = Slots((1, 0))
    outputs, hidden = torch.randn(2, 4, 7), torch.randn(2, 4, 3)
    weight, bias = torch.randn(2, 7, 3), torch.randn(2, 7)
    expected = add_grouped_product(outputs, hidden, weight, bias, slots)
    for low in (torch.float16, torch.bfloat16):
        close = {"rtol": 0.05, "atol": 0.05, "check_dtype": False}
        for inner in (hidden, hidden.to(low)):
            found = add_grouped_product(outputs.to(low), inner, weight, bias, slots)
            assert found.dtype == low
            torch.testing.assert_close(found, expected, **close)
        with torch.autocast("cpu", torch.bfloat16):
            found = add_grouped_product(outputs, hidden, weight, bias, slots)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("middle", MIDDLES)
@pytest.mark.parametrize("width", [5, 1])
def test_scaled_rows_equal_their_naive_twin(numbers, middle, width):
    slots = Slots(numbers)
    compared(
        lambda *given: grouped_scale(*given, slots),
        lambda *given: naive.grouped_scale(*given, numbers),
        ((len(numbers), *middle, 5), (slots.count, width)),
    )


def test_slots():
    slots = Slots((0, 1, 0))
    assert slots.count == 2
    assert not slots.even
    assert Slots((0, 0, 1, 1)).even
    assert not Slots((0, 1, 0, 1)).even
    assert slots.of_rows(torch.tensor([[5], [6]])).tolist() == [[5], [6], [5]]
    assert slots.batched(torch.tensor([[5], [6]])).tolist() == [[5], [6], [5]]
    stacked = torch.tensor([[5], [6]])
    assert Slots((0, 0, 1, 1)).batched(stacked) is stacked
