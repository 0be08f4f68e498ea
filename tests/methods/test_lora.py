"""LoRA's mathematics, with alpha unlike the rank."""

import pytest
import torch

from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.lora import LoRA
from inlay.ops import naive
from tests.contracts.tiny import stir


def built(**settings):
    return LoRA(**settings).build(Place(width=9, in_width=14, kind="q"))


def test_equals_its_naive_twin():
    layer = built(rank=3, alpha=7.0).double()
    stir(layer)
    x, y = torch.randn(2, 5, 14, dtype=torch.float64), torch.randn(2, 5, 9, dtype=torch.float64)
    expected = y + naive.low_rank(x, layer.a, layer.b, 7.0 / 3)
    torch.testing.assert_close(layer(x, y), expected)
    torch.testing.assert_close(y + x @ layer.weight_update().T, expected)


def test_parameter_count_and_start():
    layer = built(rank=3)
    assert sum(p.numel() for p in layer.parameters()) == 3 * (9 + 14)
    x, y = torch.randn(2, 14), torch.randn(2, 9)
    assert torch.equal(layer(x, y), y)
    assert layer.a.abs().max() <= 1 / 14**0.5, "Kaiming uniform, as a linear map starts"


def test_dropout_is_on_the_input_and_only_in_training():
    layer = built(rank=2, dropout=0.5)
    stir(layer)
    x, y = torch.ones(1, 14), torch.zeros(1, 9)
    assert not torch.equal(layer(x, y), layer(x, y))
    layer.eval()
    assert torch.equal(layer(x, y), layer(x, y))


def test_wrong_values():
    with pytest.raises(ConfigError, match=r"LoRA\(rank=0\): rank must be at least 1"):
        LoRA(rank=0)
    with pytest.raises(ConfigError, match="dropout is a fraction"):
        LoRA(dropout=1.5)
    with pytest.raises(ConfigError, match="LoRA needs a linear map; a site of kind 'ffn' is none"):
        LoRA().build(Place(width=9))
