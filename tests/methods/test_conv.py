"""The convolutional adapter against its twin; padding and the future stay out."""

import pytest
import torch
from torch.nn import functional as F

from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.conv import ConvAdapter
from inlay.ops.naive import depthwise
from tests.contracts.tiny import stir


def built(place=None, **settings):
    layer = ConvAdapter(**settings).build(place or Place(width=12)).double()
    stir(layer)
    return layer


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("kernel", "positions"), [(1, 1), (3, 7), (5, 3)])
def test_equals_its_naive_twin(kernel, positions, causal):
    layer = built(Place(width=12, causal=causal), reduction=4, kernel=kernel)

    def twin(h, x):
        z = depthwise(
            layer.down(h), layer.depthwise.squeeze(1), layer.depthwise_bias, causal=causal
        )
        return x + layer.up(layer.pointwise(F.gelu(z)))

    def run(function):
        generator = torch.Generator().manual_seed(1)
        shape = (2, positions, 12)
        h = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        result = function(h, torch.zeros(shape, dtype=torch.float64))
        (result * torch.linspace(0, 1, result.numel()).view_as(result)).sum().backward()
        return result, h.grad

    for fast, slow in zip(run(layer), run(twin), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)


def test_padding_does_not_reach_real_positions():
    layer = built(reduction=3, kernel=5)
    h = torch.randn(1, 6, 12, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    other = h.clone()
    other[:, 4:] = 9.0
    one, two = layer(h, h, mask), layer(other, h, mask)
    assert torch.equal(one[:, :4], two[:, :4])
    short = layer(h[:, :4], h[:, :4])
    torch.testing.assert_close(one[:, :4], short)


def test_a_causal_place_sees_no_later_position():
    layer = built(Place(width=12, causal=True), reduction=3, kernel=3)
    h = torch.randn(1, 6, 12, dtype=torch.float64)
    other = h.clone()
    other[:, 3:] += 1.0
    one, two = layer(h, h), layer(other, h)
    assert torch.equal(one[:, :3], two[:, :3])
    assert not torch.equal(one[:, 3], two[:, 3])


def test_pictures_are_convolved_in_both_directions():
    layer = built(Place(width=12, position_dims=2), reduction=4, kernel=3)
    assert layer.depthwise.shape == (3, 1, 3, 3)
    h = torch.zeros(1, 5, 5, 12, dtype=torch.float64)
    start = layer(h, h)
    h2 = h.clone()
    h2[0, 2, 2] = 1.0
    changed = (layer(h2, h) - start).abs().sum(-1)[0] > 0
    assert changed.sum() == 9
    assert changed[1:4, 1:4].all()


def test_parameter_count_and_start():
    layer = ConvAdapter(reduction=4, kernel=3).build(Place(width=12))
    expected = 2 * 12 * 3 + 3 + 12 + (3 * 3 + 3) + (3 * 3 + 3)
    assert sum(p.numel() for p in layer.parameters()) == expected
    x = torch.randn(2, 5, 12)
    assert torch.equal(layer(x, x), x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": 4}, r"ConvAdapter\(kernel=4\): kernel must be odd"),
        ({"kernel": 0}, "kernel must be at least 1"),
        ({"reduction": -1}, "must be above 0"),
        ({"input": "in"}, "input is one of"),
        ({"activation": "x"}, "activation is one of"),
        ({"dropout": -0.5}, "dropout is a fraction"),
    ],
)
def test_wrong_values(settings, message):
    with pytest.raises(ConfigError, match=message):
        ConvAdapter(**settings)
