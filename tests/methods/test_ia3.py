"""IA3 against the paper's formulas, and its merge."""

import pytest
import torch
from torch import nn

import inlay
from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.ops.grouped import Slots
from tests.contracts import tiny


def layer_at(kind, weight, **settings):
    place = Place(width=weight.shape[0], in_width=weight.shape[1], kind=kind, weight=lambda: weight)
    layer = inlay.IA3(**settings).build(place).double()
    layer.factors.data.copy_(torch.rand(len(layer.factors), dtype=torch.float64) + 0.5)
    return layer


@pytest.mark.parametrize("kind", ["k", "v", "down"])
def test_the_papers_formula(kind):
    base = nn.Linear(5, 7).double()
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    layer = layer_at(kind, base.weight.detach())
    factors = layer.factors
    expected = base(factors * x) if kind == "down" else factors * base(x)
    torch.testing.assert_close(layer(x, base(x)), expected, atol=1e-12, rtol=1e-12)
    merged = nn.Linear(5, 7).double()
    merged.weight.data = base.weight.data + layer.weight_update()
    scale = layer.bias_factors()
    merged.bias.data = base.bias.data if scale is None else base.bias.data * scale
    torch.testing.assert_close(merged(x), expected, atol=1e-12, rtol=1e-12)


def test_it_starts_at_the_base_and_counts_as_in_the_paper():
    model = tiny.encoder()
    inlay.attach(model)
    entry = model.adapters.add("a", "ia3")
    sites = {s.name: s for s in model.adapters.sites}
    expected = sum(
        sites[name].in_width if sites[name].kind == "down" else sites[name].width
        for name in entry.layers
    )
    assert entry.num_adapter_parameters == expected
    assert {sites[name].kind for name in entry.layers} == {"k", "v", "down"}
    assert all(torch.equal(p, torch.ones_like(p)) for p in entry.parameters())


def test_merged_it_computes_the_same_and_the_base_comes_back():
    model = tiny.encoder().double()
    inlay.attach(model)
    tiny.stir(model.adapters.add("a", "ia3", at="q, v, o, up, down"), seed=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad(), model.adapters.using("a"):
        expected = model(**tiny.batch()).last_hidden_state
    model.adapters.merge("a")
    with torch.no_grad():
        found = model(**tiny.batch()).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)
    model.adapters.unmerge()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["k", "down"])
def test_together_as_one_by_one(kind):
    base = nn.Linear(5, 7).double()
    weight = base.weight.detach()
    one, two = layer_at(kind, weight), layer_at(kind, weight)
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    forms = [one.grouped(), two.grouped()]
    assert forms[0].key == forms[1].key
    assert forms[0].key != layer_at("k" if kind == "down" else "down", weight).grouped().key
    stacked = tuple(map(torch.stack, zip(*(form.weights for form in forms), strict=True)))
    found = forms[0].run(stacked, Slots((0, 1, 1)), x, base(x))
    wanted = torch.cat([one(x[:1], base(x[:1])), two(x[1:], base(x[1:]))])
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("inputs", ["dwon", "block"])
def test_unknown_kinds_are_refused(inputs):
    with pytest.raises(ConfigError, match="inputs is one of"):
        inlay.IA3(inputs=inputs)


def test_other_places_are_refused():
    with pytest.raises(ConfigError, match="needs a linear map with a weight"):
        inlay.IA3().build(Place(width=4, kind="ffn"))


def test_inputs_by_name_of_a_site():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    entry = adapters.add("a", inlay.IA3(inputs="down, 1.attention.o"), at="o, down")
    inner = {name for name, layer in entry.layers.items() if layer.on_input}
    assert inner == {"0.ffn.down", "1.ffn.down", "2.ffn.down", "1.attention.o"}
    with pytest.raises(ConfigError, match="'7.attention.o' is no site that this adapter is put"):
        adapters.add("b", inlay.IA3(inputs="7.attention.o"), at="o")
    assert adapters.names == ("a",)
