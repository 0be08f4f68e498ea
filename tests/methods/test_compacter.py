"""Compacter against its formula, its sizes, and the rule that its layers share."""

import copy
import pickle

import pytest
import torch
from torch.nn import functional as F

import inlay
from inlay.errors import ConfigError, FormatError
from inlay.methods.base import Place
from inlay.methods.compacter import Compacter, CompacterLayer
from inlay.methods.parse import parse_method
from inlay.ops import naive
from inlay.ops.grouped import Slots
from tests.contracts import tiny

PLACES = {
    "0.attention": Place(width=21, kind="attention"),
    "0.ffn": Place(width=21),
    "1.ffn": Place(width=15),
}


def built(seed=0, **settings):
    settings = {"inner_width": 6, "n": 3, "rank": 2, "activation": "tanh"} | settings
    layers = Compacter(**settings).build_all(PLACES)
    for number, layer in enumerate(layers.values()):
        tiny.stir(layer.double(), 10 * seed + number)
    return layers


def inputs(width=21):
    generator = torch.Generator().manual_seed(4)
    return (torch.randn(2, 7, width, generator=generator, dtype=torch.float64) for _ in "hx")


def by_hand(layer, h, x):
    """The paper's formula, from every matrix in full."""
    for part, rule in ((layer.down, layer.rules[0]), (layer.up, layer.rules[-1])):
        h = naive.phm_linear(h, rule.weight, part.left, part.right, part.bias)
        h = torch.tanh(h) if part is layer.down else h
    return x + h


@pytest.mark.parametrize("shared", [True, False])
def test_equals_the_formula_with_gradients(shared):
    layers = built(shared_rule=shared)
    parameters = [p for layer in layers.values() for p in layer.parameters()]
    results = []
    for function in (lambda layer, h, x: layer(h, x), by_hand):
        total = torch.zeros((), dtype=torch.float64)
        for name, layer in layers.items():
            result = function(layer, *inputs(PLACES[name].width))
            total = total + (result * torch.linspace(-1, 1, result.numel()).view_as(result)).sum()
            results.append(result)
        results.append(torch.autograd.grad(total, parameters))
    half = len(results) // 2
    for one, two in zip(results[:half], results[half:], strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(("shared", "rank"), [(True, 1), (True, 3), (False, 2)])
def test_parameter_count(shared, rank):
    layers = built(shared_rule=shared, rank=rank)
    expected = sum(2 * rank * (p.width + 6) + 6 + p.width for p in PLACES.values())
    expected += 3**3 if shared else len(PLACES) * 2 * 3**3
    assert sum(p.numel() for x in layers.values() for p in x.parameters()) == expected


def test_the_papers_count():
    """4 L (k + d) weights in the factors of L blocks, and n^3, beside the biases."""
    blocks, d, n = 12, 768, 4
    k = d // 32
    places = {f"{b}.{kind}": Place(width=d, kind=kind, block=b)
              for b in range(blocks) for kind in ("attention", "ffn")}  # fmt: skip
    layers = Compacter().build_all(places).values()
    named = [(name, p) for layer in layers for name, p in layer.named_parameters()]
    assert sum(p.numel() for name, p in named if not name.endswith("bias")) == (
        4 * blocks * (k + d) + n**3
    )
    assert sum(p.numel() for name, p in named if name.endswith("bias")) == 2 * blocks * (k + d)


def test_presets():
    for name, at in (("compacter", "attention, ffn"), ("compacter++", "ffn")):
        preset = parse_method(name)
        assert preset.at == at
        assert preset.method == Compacter(reduction=32, n=4, rank=1, input="x", activation="gelu")
    assert parse_method("compacter++[n=2]").method == Compacter(n=2)


@pytest.mark.parametrize("shared", [True, False])
def test_zero_starts_at_the_base_and_still_learns(shared):
    torch.manual_seed(0)
    layer = Compacter(inner_width=6, n=3, shared_rule=shared).build(Place(width=21))
    h, x = (tensor.float() for tensor in inputs())
    assert torch.equal(layer(h, x), x)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (layer(h, x) ** 3).sum().backward()
        optimizer.step()
    assert all(p.grad.any() for p in layer.parameters())


def test_starting_sizes():
    torch.manual_seed(0)
    small = Compacter(n=8, inner_width=64, init="small").build(Place(width=512))
    assert 0.8e-4 < small.rules[0].weight.std().item() < 1.2e-4
    assert small.up.left.any()
    zero = Compacter(n=8, inner_width=64).build(Place(width=512))
    assert zero.rules[0].weight.std().item() == pytest.approx(8**-0.5, rel=0.2)
    assert not zero.up.left.any()


def test_the_rule_is_one_weight_that_stays_one():
    layers = built()
    rule = layers["0.attention"].rules[0].weight
    assert [[r.weight is rule for r in layer.rules] for layer in layers.values()] == [[True]] * 3
    names = [name for layer in layers.values() for name in layer.state_dict() if "rule" in name]
    assert names == ["own_rules.0.weight"]
    module = torch.nn.ModuleList(layers.values())
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert {id(layer.rules[0].weight) for layer in twin} == {id(twin[0].own_rules[0].weight)}
        assert twin[0].own_rules[0].weight is not rule
        twin.float()
        assert all(layer.rules[0].weight.dtype == torch.float32 for layer in twin)
    separate = built(shared_rule=False)
    rules = [id(r.weight) for layer in separate.values() for r in layer.rules]
    assert len(set(rules)) == len(rules) == 6


def test_saved_once_loaded_strictly_and_shared_afterwards(tmp_path):
    model = tiny.encoder()
    inlay.attach(model)
    entry = model.adapters.add("a", inlay.Compacter(inner_width=6, n=3))
    tiny.stir(entry)
    inlay.save(model, "a", tmp_path / "a")
    fresh = tiny.encoder()
    inlay.load(fresh, tmp_path / "a")
    loaded = fresh.adapters.entry("a")
    assert [key for key in loaded.tensors() if "rule" in key] == [
        "site/0.attention/own_rules.0.weight"
    ]
    layers = list(loaded.layers.values())
    assert len({id(layer.rules[0].weight) for layer in layers}) == 1
    assert torch.equal(
        layers[-1].rules[0].weight, next(iter(entry.layers.values())).rules[0].weight
    )
    assert loaded.num_adapter_parameters == 6 * (2 * 30 + 30) + 27
    manifest = tmp_path / "a" / "adapter.json"
    assert manifest.is_file()
    manifest.write_text(manifest.read_text().replace('"shared_rule": true', '"shared_rule": false'))
    with pytest.raises(FormatError, match=r"own_rules\.1\.weight', which this model needs"):
        inlay.load(tiny.encoder(), tmp_path / "a")


def test_low_rank_form():
    layer = built(rank=3)["1.ffn"]
    h, x = inputs(15)
    form = layer.low_rank()
    assert form.up.shape == (15, 6)
    torch.testing.assert_close(x + form.reduce(h) @ form.up.T + form.bias, layer(h, x))
    dropping = built(dropout=0.5)["1.ffn"]
    assert dropping.low_rank() is None
    assert dropping.eval().low_rank() is not None


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("counts", [(1, 1), (2, 1)])
def test_grouped_form(shared, counts):
    ones = [built(seed, shared_rule=shared)["0.ffn"] for seed in range(2)]
    generator = torch.Generator().manual_seed(4)
    h, x = (torch.randn(sum(counts), 5, 21, generator=generator, dtype=torch.float64) for _ in "hx")
    groups = [layer.grouped() for layer in ones]
    assert groups[0].key == groups[1].key
    stacked = tuple(torch.stack(pair) for pair in zip(*(g.weights for g in groups), strict=True))
    numbers = (0,) * counts[0] + (1,) * counts[1]
    found = groups[0].run(stacked, Slots(numbers), h, x)
    parts = zip(ones, h.split(counts), x.split(counts), strict=True)
    torch.testing.assert_close(found, torch.cat([layer(a, b) for layer, a, b in parts]))


def test_layers_that_compute_otherwise_are_not_grouped():
    keys = [
        built(**settings)["0.ffn"].grouped().key
        for settings in (
            {}, {"activation": "gelu"}, {"activation": "gelu_new"}, {"rank": 1},
            {"shared_rule": False}, {"input": "r"}, {"dropout": 0.5},
        )
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_rows_of_several_adapters_equal_each_alone():
    model = tiny.encoder()
    inlay.attach(model)
    for seed, name in enumerate("ab"):
        tiny.stir(model.adapters.add(name, inlay.Compacter(inner_width=6, n=3)), seed)
    batch = tiny.batch()
    alone = {}
    for name in "ab":
        with model.adapters.using(name):
            alone[name] = tiny.hidden(model, batch)
    for rows in ("aba", "baa", "aba"):
        with model.adapters.using(inlay.Rows(*rows)):
            found = tiny.hidden(model, batch)
        for row, name in enumerate(rows):
            torch.testing.assert_close(found[row], alone[name][row], atol=1e-5, rtol=1e-4)
    for layer in model.adapters.entry("a").layers.values():
        assert layer.rules[0] is model.adapters.entry("a").layers["0.attention"].rules[0]


def test_dropout_acts_on_the_update():
    layer = built(dropout=0.25)["0.ffn"]
    h, x = inputs()
    torch.manual_seed(3)
    update = layer(h, x) - x
    torch.manual_seed(3)
    expected = F.dropout(by_hand(layer, h, x) - x, 0.25)
    torch.testing.assert_close(update, expected)
    assert (update == 0).any()


def test_widths_that_n_does_not_divide():
    message = "4 does not divide '0.ffn', which is 21 wide; n can be 1, 3, 7, 21 here"
    with pytest.raises(ConfigError, match=message):
        Compacter().build_all({"0.ffn": Place(width=21)})
    with pytest.raises(ConfigError, match="'b', which is 15 wide; n can be 1, 3 here"):
        Compacter(n=7).build_all({"a": Place(width=21), "b": Place(width=15)})
    with pytest.raises(ConfigError, match="the inner width, which is 6 wide; n can be 1, 2, 3, 6"):
        Compacter(inner_width=6).build(Place(width=24))


def test_a_width_from_the_reduction_is_made_to_fit():
    layers = Compacter(n=4).build_all({"a": Place(width=24), "b": Place(width=384)})
    assert [layer.down.bias.numel() for layer in layers.values()] == [4, 12]
    assert all(isinstance(layer, CompacterLayer) for layer in layers.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"reduction": 0}, "reduction must be above 0"),
        ({"reduction": 2, "inner_width": 4}, "give one of the two"),
        ({"activation": "no"}, "activation is one of"),
        ({"input": "in"}, "input is one of"),
        ({"dropout": 1.0}, "dropout is a fraction"),
        ({"init": "bert"}, "init is one of"),
        ({"shared_rule": "no"}, "shared_rule is one of"),
    ],
)
def test_wrong_values(settings, message):
    with pytest.raises(ConfigError, match=message):
        Compacter(**settings)
