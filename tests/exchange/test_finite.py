"""What no foreign file may hold: other things than finite floating-point numbers."""

from pathlib import Path

import pytest
import torch

from inlay.errors import FormatError
from inlay.exchange.finite import check_numbers

FILE = Path("a-folder/file.safetensors")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_finite_numbers_pass_and_stay_as_they_are(dtype, shape):
    largest = torch.full(shape, torch.finfo(dtype).max, dtype=dtype)
    kept = largest.clone()
    check_numbers(FILE, "a.b", largest)
    assert torch.equal(largest, kept)


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.ones(2, dtype=torch.int64), "torch.int64"),
        (torch.ones(2, dtype=torch.uint8), "torch.uint8"),
        (torch.ones(2, dtype=torch.bool), "torch.bool"),
        (torch.ones(2, dtype=torch.complex64), "torch.complex64"),
        (torch.ones(2, 2).to_sparse(), "torch.float32"),
    ],
)
def test_no_plain_table_of_floats(tensor, kind):
    message = rf"^a-folder/file.safetensors: tensor 'a\.b' is of type {kind}; expected floats\.$"
    with pytest.raises(FormatError, match=message):
        check_numbers(FILE, "a.b", tensor)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_floats_of_eight_bits_are_refused(dtype):
    with pytest.raises(FormatError, match=r"'a\.b' is of type torch\.float8.*at least 16 bits"):
        check_numbers(FILE, "a.b", torch.ones(2).to(dtype))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_entry_among_many_that_is_no_number(number, dtype):
    tensor = torch.zeros(5, 7, dtype=dtype)
    tensor[3, 6] = number
    with pytest.raises(FormatError, match=r"tensor 'a\.b' has entries that are no finite numbers"):
        check_numbers(FILE, "a.b", tensor)
