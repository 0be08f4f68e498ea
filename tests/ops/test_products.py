"""An added product equals its formula, outputs and gradients, in every precision."""

import pytest
import torch

from inlay.ops.products import add_product, product_dtype, with_bias


def given(dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    shapes = ((2, 4, 7), (2, 4, 3), (7, 3), (7,))
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("strided", [True, False])
def test_equals_its_formula(with_bias, strided):
    def run(function):
        tensors = [tensor.requires_grad_() for tensor in given()]
        outputs, hidden, weight, bias = tensors
        if strided:
            outputs, hidden = outputs.transpose(0, 1), hidden.transpose(0, 1)
        result = function(outputs, hidden, weight, bias if with_bias else None)
        (result * torch.arange(result.numel()).view_as(result)).sum().backward()
        return [result, *(tensor.grad for tensor in tensors)]

    def formula(outputs, hidden, weight, bias):
        update = hidden @ weight.T
        return outputs + (update if bias is None else update + bias)

    for one, two in zip(run(add_product), run(formula), strict=True):
        if one is not None or two is not None:
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_what_it_is_added_to_stays_as_it_is():
    outputs, *rest = given()
    before = outputs.clone()
    add_product(outputs, *rest)
    assert torch.equal(outputs, before)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("inner", ["low", "float32"])
def test_gradients_in_low_precision(low, inner):
    """Against float64, within the rounding of the precision."""
    exact = [tensor.requires_grad_() for tensor in given()]
    rounded = [tensor.detach().float().requires_grad_() for tensor in exact]
    outputs, hidden = rounded[0].to(low), rounded[1].to(low if inner == "low" else torch.float32)
    found = add_product(outputs, hidden, *rounded[2:])
    assert found.dtype == low
    wanted = add_product(*exact)
    found.double().square().sum().backward()
    wanted.square().sum().backward()
    close = {"rtol": 0.03, "atol": 0.5, "check_dtype": False}
    torch.testing.assert_close(found, wanted, rtol=0.03, atol=0.03, check_dtype=False)
    for one, two in zip(rounded, exact, strict=True):
        assert one.grad.dtype == torch.float32
        torch.testing.assert_close(one.grad, two.grad, **close)


def test_under_autocast():
    tensors = given(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = add_product(*tensors)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, add_product(*tensors), rtol=0.05, atol=0.05)


def test_the_precision_of_products():
    weight = torch.ones(1)
    for outputs, expected in (
        (torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
    ):
        assert product_dtype(torch.ones(1, dtype=outputs), weight) == expected
    assert product_dtype(torch.ones(1).double(), weight.double()) == torch.float64


def test_a_bias_as_a_column():
    _, hidden, weight, bias = given()
    ones, wide = with_bias(hidden, weight, bias)
    assert (ones.shape, wide.shape) == ((2, 4, 4), (7, 4))
    torch.testing.assert_close(ones @ wide.T, hidden @ weight.T + bias)
