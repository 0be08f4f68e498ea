"""Adapters at the two ends."""

import pytest
import torch
from torch.nn import functional as F

from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.ends import EmbeddingAdapter, OutputAdapter
from tests.contracts.tiny import stir


def test_the_embedding_map_is_affine():
    x = torch.randn(2, 3, 10, dtype=torch.float64)
    for method in (EmbeddingAdapter(), EmbeddingAdapter(rank=3)):
        layer = method.build(Place(width=10)).double()
        stir(layer)
        matrix = layer.last.weight
        if method.rank is not None:
            matrix = matrix @ layer.inner.weight
        torch.testing.assert_close(layer(x, x), x + x @ matrix.T + layer.last.bias)


def test_the_output_network_equals_its_formula():
    layer = OutputAdapter(layers=2, inner_width=7, activation="tanh").build(Place(width=10))
    layer = layer.double()
    stir(layer)
    x = torch.randn(2, 3, 10, dtype=torch.float64)
    z = x
    for index in (0, 2):
        z = torch.tanh(F.linear(z, layer.inner[index].weight, layer.inner[index].bias))
    torch.testing.assert_close(layer(x, x), x + F.linear(z, layer.last.weight, layer.last.bias))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (EmbeddingAdapter(), 10 * 10 + 10),
        (EmbeddingAdapter(rank=3), 2 * 10 * 3 + 10),
        (OutputAdapter(), 2 * 10 * 10 + 10 + 10),
        (OutputAdapter(inner_width=4), 2 * 10 * 4 + 4 + 10),
        (OutputAdapter(layers=2, inner_width=4), 2 * 10 * 4 + 4 + 10 + 4 * 4 + 4),
    ],
)
def test_parameter_count_and_start(method, expected):
    layer = method.build(Place(width=10))
    assert sum(p.numel() for p in layer.parameters()) == expected
    x = torch.randn(2, 3, 10)
    assert torch.equal(layer(x, x), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EmbeddingAdapter(rank=0), "rank must be at least 1"),
        (lambda: OutputAdapter(layers=0), "layers must be at least 1"),
        (lambda: OutputAdapter(inner_width=0), "inner_width must be at least 1"),
        (lambda: OutputAdapter(activation="no"), "activation is one of"),
        (lambda: OutputAdapter(dropout=2.0), "dropout is a fraction"),
    ],
)
def test_wrong_values(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
