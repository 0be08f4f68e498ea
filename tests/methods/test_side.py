"""The ladder against its formula, and that it leaves the base alone."""

import pytest
import torch
from torch.nn import functional as F

import inlay
from inlay import Average, Fuse, Stack
from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.side import Side
from inlay.sites.tensors import first_float
from tests.contracts import tiny
from tests.contracts.families import FAMILIES

PLACES = {
    "embedding": Place(width=6, kind="embedding"),
    "0.block": Place(width=10, kind="block", block=0),
    "1.block": Place(width=10, kind="block", block=1),
    "output": Place(width=10, kind="output"),
}


def built(names=tuple(PLACES), **settings):
    layers = Side(reduction=3, activation="tanh", **settings).build_all(
        {name: PLACES[name] for name in names}
    )
    for seed, layer in enumerate(layers.values()):
        tiny.stir(layer.double(), seed)
    return layers


def naive(layers, states):
    s = None
    for name, h in states.items():
        rung = layers[name]
        taken = F.linear(h, rung.take_in.weight, rung.take_in.bias)
        if s is not None:
            m = 1 / (1 + torch.exp(-rung.gate / 0.1))
            taken = m * s + (1 - m) * taken
        s = taken
        if rung.block is not None:
            block = rung.block
            inner = F.layer_norm(s, s.shape[-1:], block.norm.weight, block.norm.bias)
            inner = torch.tanh(F.linear(inner, block.up.weight, block.up.bias))
            s = s + F.linear(inner, block.down.weight, block.down.bias)
    top = layers["output"]
    return top.gate * F.linear(s, top.up.weight, top.up.bias)


@pytest.mark.parametrize("names", [tuple(PLACES), ("0.block", "1.block", "output")])
def test_equals_its_formula_with_gradients(names):
    layers = built(names)
    states = {
        name: torch.randn(2, 4, PLACES[name].width, dtype=torch.float64) for name in names[:-1]
    }
    for name, h in states.items():
        assert layers[name](h, h) is h, "a rung only reads"
    last = torch.randn(2, 4, 10, dtype=torch.float64)
    found, expected = layers["output"](last, last), last + naive(layers, states)
    torch.testing.assert_close(found, expected)
    parameters = [p for layer in layers.values() for p in layer.parameters()]
    weights = torch.linspace(-1, 1, last.numel(), dtype=torch.float64).view_as(last)
    ours = torch.autograd.grad((found * weights).sum(), parameters)
    naives = torch.autograd.grad((expected * weights).sum(), parameters)
    for one, two in zip(ours, naives, strict=True):
        torch.testing.assert_close(one, two)
    assert torch.equal(layers["output"](last, last), last), "what was read is used once"


def test_no_gradient_reaches_what_is_read():
    layers = built()
    h = torch.randn(2, 4, 10, dtype=torch.float64, requires_grad=True)
    layers["0.block"](h, h)
    last = torch.zeros(2, 4, 10, dtype=torch.float64)
    layers["output"](last, last).sum().backward()
    assert h.grad is None
    assert layers["0.block"].take_in.weight.grad.any()


def test_parameter_count():
    layers = built(expansion=4)
    d, e = 3, 4
    block = 2 * e * d * d + e * d + d + 2 * d
    expected = (6 * d + d) + 2 * (10 * d + d + block + 1) + (d * 10 + 10 + 1)
    assert sum(p.numel() for x in layers.values() for p in x.parameters()) == expected
    without = built(("0.block", "1.block", "output"), expansion=4)
    assert sum(p.numel() for x in without.values() for p in x.parameters()) == (
        expected - (6 * d + d) - 1
    )


def test_the_base_runs_without_a_graph_and_its_blocks_are_not_changed():
    model = tiny.classifier()
    inlay.attach(model)
    entry = model.adapters.add("a", inlay.Side(reduction=3))
    tiny.stir(entry)
    after = []
    model.adapters.train("a")
    # The output site of this base is the last block itself: look at the one below.
    module = model.adapters.sites["1.block"].module
    model.get_submodule(module).register_forward_hook(
        lambda m, a, out: after.append(first_float(out))
    )
    model(**tiny.batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
    model.adapters.use(None)
    tiny.hidden(model, tiny.batch())
    assert not after[0].requires_grad, "nothing of the base is kept for a backward pass"
    assert torch.equal(after[0], after[1])
    missing = [n for n, p in entry.named_parameters() if p.grad is None]
    assert missing == []


def test_rungs_that_are_skipped_are_left_out_of_the_ladder():
    model = tiny.encoder().double()
    inlay.attach(model)
    entry = model.adapters.add("a", inlay.Side(reduction=3, activation="tanh"), at="block, output")
    tiny.stir(entry)
    states, last = {}, {}
    for site, layer in entry.layers.items():
        store = last if site == "output" else states
        layer.register_forward_pre_hook(
            lambda m, args, store=store, site=site: store.__setitem__(site, args[1])
        )
    with model.adapters.using("a", skip_lowest=2):
        found = tiny.hidden(model, tiny.batch())
    assert set(states) == {"2.block"}
    torch.testing.assert_close(found, last["output"] + naive(entry.layers, states))


def test_each_turn_climbs_by_what_it_has_read():
    layers = built()
    h = [
        {name: torch.randn(2, 4, PLACES[name].width, dtype=torch.float64) for name in layers}
        for _ in range(2)
    ]
    for name, layer in layers.items():
        outputs = []
        for turn, states in enumerate(h):
            layer.take_turn(turn)
            outputs.append(layer(states[name], states[name]))
    for states, found in zip(h, outputs, strict=True):
        last = states.pop("output")
        torch.testing.assert_close(found, last + naive(layers, states))


def test_words_that_were_read_without_padding_behind_them():
    """Where other rows have vectors in front of their words, rows are longer at the blocks."""
    layers = built()
    h = {name: torch.randn(2, 6, PLACES[name].width, dtype=torch.float64) for name in layers}
    last = h.pop("output")
    expected = last + naive(layers, h)
    for name, states in h.items():
        layers[name](*[states[:, :4] if name == "embedding" else states] * 2)
    torch.testing.assert_close(layers["output"](last, last)[:, :4], expected[:, :4])


def test_an_average_of_ladders_is_that_of_the_last_hidden_states():
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    for seed, name in enumerate("ab"):
        tiny.stir(adapters.add(name, inlay.Side(reduction=3)), seed)
        for parameter in adapters.entry(name).parameters():
            parameter.data.mul_(5)
    inputs = tiny.batch()
    a, b, base = (run(model, name, inputs) for name in ("a", "b", None))
    mean = run(model, Average("a", Stack("b", "a"), None, weights=(0.3, 0.9, -0.2)), inputs)
    torch.testing.assert_close(mean, 0.3 * a + 0.9 * (a + b - base) - 0.2 * base)
    assert not torch.allclose(a, b, atol=1e-2)


def test_learned_combinations_are_where_ladders_end():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    adapters.add("a", "side")
    adapters.add("b", "bottleneck", at="1.ffn")
    assert list(adapters.add_combiner(Fuse("a", "b")).combiners) == ["1.ffn", "output"]


def run(model, composition, inputs):
    with model.adapters.using(composition):
        return tiny.hidden(model, inputs)


def test_places_that_cannot_be():
    with pytest.raises(ConfigError, match="Side reads blocks and adds to its output"):
        Side().build_all({"0.block": PLACES["0.block"]})
    with pytest.raises(ConfigError, match="Side reads blocks and adds to its output"):
        Side().build_all({"output": PLACES["output"]})
    with pytest.raises(ConfigError, match="cannot be built for 'block' alone"):
        Side().build(PLACES["0.block"])
    model = FAMILIES["swin"].build()
    inlay.attach(model)
    with pytest.raises(ConfigError, match="blocks have widths 16, 32; a ladder needs"):
        model.adapters.add("a", "side")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reduction": 0}, "must be above 0"),
        ({"expansion": 0}, "expansion must be at least 1"),
        ({"activation": "no"}, "activation is one of"),
        ({"dropout": 1.0}, "dropout is a fraction"),
    ],
)
def test_wrong_values(settings, message):
    with pytest.raises(ConfigError, match=message):
        Side(**settings)


def test_a_rung_that_is_left_out_has_nothing_of_a_pass_that_was_broken_off():
    model = tiny.encoder()
    adapters = tiny.attach(model)
    tiny.stir(adapters.add("a", inlay.Side(reduction=3)))
    for composition in ("a", inlay.Rows("a", None, "a")):
        with adapters.using(composition, skip_lowest=1):
            expected = tiny.hidden(model, tiny.batch())
        adapters.use(composition)
        whole = tiny.hidden(model, tiny.batch())
        assert not torch.allclose(expected, whole, atol=1e-4)

        def fail(module, args):
            raise KeyboardInterrupt

        handle = model.encoder.layer[2].register_forward_pre_hook(fail)
        with pytest.raises(KeyboardInterrupt, match="^$"):
            model(**tiny.batch())
        handle.remove()
        with adapters.using(composition, skip_lowest=1):
            torch.testing.assert_close(tiny.hidden(model, tiny.batch()), expected)
