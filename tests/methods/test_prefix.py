"""The rows that a prefix gives, and the sizes of what gives them."""

import pytest
import torch

from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.prefix import Prefix


def place(width=12, keys=6, values=8, **more):
    return Place(width=width, kind="attention", key_width=keys, value_width=values, **more)


def test_the_network_equals_its_formula():
    places = {"0.attention": place(block=0), "1.attention": place(keys=4, values=2, block=1)}
    layers = Prefix(length=5, inner_width=7).build_all(places)
    first, second = (layer.double() for layer in layers.values())
    net = first.rows
    for parameter in first.parameters():
        parameter.data.normal_()
    inner = torch.tanh(net.inputs @ net.down.weight.T + net.down.bias)
    rows = inner @ net.up.weight.T + net.up.bias
    found = torch.cat([*first(), *second()], dim=1)
    torch.testing.assert_close(found, rows)
    assert [tuple(x.shape) for x in (*first(), *second())] == [(5, 6), (5, 8), (5, 4), (5, 2)]


def test_parameter_counts():
    places = {f"{i}.attention": place(width=12, keys=12, values=12) for i in range(3)}

    def count(method):
        layers = method.build_all(places).values()
        return sum(p.numel() for layer in layers for p in layer.parameters())

    # Li and Liang: 2 * layers * width numbers for each of the prefix's positions.
    assert count(Prefix(length=5, inner_width=None)) == 5 * 2 * 3 * 12
    # While training: P' of length x width, a map to the inner width, one to all keys and values.
    expected = 5 * 12 + (12 * 7 + 7) + (7 * 2 * 3 * 12 + 2 * 3 * 12)
    assert count(Prefix(length=5, inner_width=7)) == expected
    # Mao et al.: a gate reads what the attention is given.
    for gates in (1, 2):
        gated = Prefix(length=5, inner_width=7, gate=True, gates=gates)
        assert count(gated) == expected + 3 * gates * (12 + 1)
    assert sum(p.numel() for p in Prefix(length=5, inner_width=7).build(place()).parameters()) == (
        5 * 12 + 13 * 7 + 8 * 14
    )


def test_each_kind_and_submodel_has_its_own_network():
    places = {
        "encoder.0.attention": place(submodel="encoder"),
        "decoder.0.attention": place(submodel="decoder"),
        "decoder.1.attention": place(submodel="decoder"),
    }
    layers = Prefix(length=2, inner_width=3).build_all(places)
    own = [name for name, layer in layers.items() if list(layer.parameters())]
    assert own == ["encoder.0.attention", "decoder.0.attention"]


def test_folding_keeps_the_rows():
    places = {"0.attention": place(), "1.attention": place()}
    method = Prefix(length=5, inner_width=7, activation="relu", dropout=0.3)
    layers = method.build_all(places)
    flat, folded = method.folded(layers)
    assert flat == Prefix(length=5, inner_width=None, dropout=0.3)
    for name, layer in layers.items():
        layer.eval()
        folded[name].eval()
        for one, two in zip(layer(), folded[name](), strict=True):
            assert torch.equal(one, two)
    assert flat.folded(folded) is None


def test_dropout_acts_in_training_only():
    layer = Prefix(length=9, inner_width=None, dropout=0.5).build(place())
    keys, _ = layer()
    assert (keys == 0).any()
    layer.eval()
    assert not (layer()[0] == 0).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "length must be at least 1"),
        ({"inner_width": 0}, "inner_width must be at least 1"),
        ({"activation": "no"}, "activation is one of"),
        ({"dropout": 1.0}, "dropout is a fraction"),
        ({"inner_width": None, "activation": "relu"}, "there is no activation; leave it out"),
        ({"gates": 2}, "no effect without a gate; add gate=True"),
        ({"gates": 3, "gate": True}, "gates is one of 1, 2"),
    ],
)
def test_wrong_values(settings, message):
    with pytest.raises(ConfigError, match=message):
        Prefix(**settings)


def test_a_place_without_keys():
    with pytest.raises(ConfigError, match="a site of kind 'ffn' is none"):
        Prefix().build(Place(width=8))
