"""Invertible adapters: the formulas, the inverse, and both ends of a language model."""

import pytest
import torch
import transformers as hf

import inlay
from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.invertible import Invertible
from tests.contracts import tiny

FORMS = [
    Invertible(reduction=1.5, activation="tanh"),
    Invertible(form="glow", reduction=3, activation="gelu"),
]


def coupling(method, width=11, seed=9):
    layer = method.build(Place(width=width, kind="embedding")).double()
    tiny.stir(layer, seed)
    for parameter in layer.parameters():
        parameter.data.mul_(4)  # far from the identity
    return layer.coupling


def masked():
    torch.manual_seed(1)
    return tiny.perturbed(hf.BertForMaskedLM(hf.BertConfig(**tiny.SMALL)))


@pytest.mark.parametrize("method", FORMS)
@pytest.mark.parametrize("width", [2, 10, 11])
def test_the_inverse_is_exact(method, width):
    layer = coupling(method, width)
    x = 3 * torch.randn(4, 7, width, dtype=torch.float64)
    assert (layer(x) - x).abs().max() > 0.1
    torch.testing.assert_close(layer.inverse(layer(x)), x, atol=1e-12, rtol=0)
    torch.testing.assert_close(layer(layer.inverse(x)), x, atol=1e-12, rtol=0)


def test_nice_equals_its_formula():
    layer = coupling(FORMS[0])
    x = torch.randn(3, 11, dtype=torch.float64)
    a, b = x[:, :5], x[:, 5:]
    f, g = layer.f, layer.g
    a = a + torch.tanh(b @ f[0].weight.T + f[0].bias) @ f[2].weight.T + f[2].bias
    b = b + torch.tanh(a @ g[0].weight.T + g[0].bias) @ g[2].weight.T + g[2].bias
    torch.testing.assert_close(layer(x), torch.cat([a, b], dim=1))


def test_glow_scales_within_bounds():
    layer = coupling(FORMS[1])
    x = torch.randn(3, 11, dtype=torch.float64)
    a, b = x[:, :5], x[:, 5:]
    s, t = layer.f(b)[:, :5], layer.f(b)[:, 5:]
    a = a * torch.exp(2 * torch.tanh(s / 2)) + t
    s, t = layer.g(a)[:, :6], layer.g(a)[:, 6:]
    b = b * torch.exp(2 * torch.tanh(s / 2)) + t
    torch.testing.assert_close(layer(x), torch.cat([a, b], dim=1))
    layer.f[2].bias.data.fill_(1e6)
    assert layer.change(layer.f, x[:, 5:])[0].max() <= 2


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # halves 5 and 6; F: 6 -> d -> 5 and G: 5 -> d -> 6, with biases
        (Invertible(reduction=1.7), (6 * 3 + 3 + 3 * 5 + 5) + (5 * 3 + 3 + 3 * 6 + 6)),
        (Invertible(reduction=1.7), 2 * 3 * 11 + 2 * 3 + 11),
        (Invertible(form="glow", reduction=1.7), 3 * 3 * 11 + 2 * 3 + 2 * 11),
    ],
)
def test_parameter_count_and_start(method, expected):
    layer = method.build(Place(width=11, kind="embedding"))
    assert sum(p.numel() for p in layer.parameters()) == expected
    x = torch.randn(2, 3, 11)
    assert torch.equal(layer(x, x), x)
    assert torch.equal(layer.coupling.inverse(x), x)


def states_at_the_head(model, inputs):
    """Return what goes into the language model's head."""
    seen = []
    hook = model.cls.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    tiny.hidden(model, inputs)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("method", FORMS)
def test_the_inverse_acts_before_the_head(method):
    model = masked()
    inlay.attach(model)
    both = model.adapters.add("both", method)
    tiny.stir(both)
    one = model.adapters.add("one", method, at="embedding")
    for key, tensor in one.tensors().items():
        tensor.copy_(both.tensors()[key])
    assert set(one.tensors()) == set(both.tensors()), "the weights are there once"
    assert both.num_adapter_parameters == one.num_adapter_parameters
    model.adapters.use("one")
    states = states_at_the_head(model, tiny.batch())
    model.adapters.use("both")
    undone = both.layer_at("embedding").coupling.inverse(states)
    torch.testing.assert_close(states_at_the_head(model, tiny.batch()), undone)
    assert not torch.allclose(states, undone, atol=1e-3)


def test_stacked_inverses_run_in_reverse():
    model = masked()
    inlay.attach(model)
    maps = []
    for seed, name in enumerate(("a", "b")):
        entry = model.adapters.add(name, FORMS[seed])
        tiny.stir(entry, seed)
        maps.append(entry.layer_at("embedding").coupling)
    adapters = model.adapters
    x = torch.randn(2, 3, 24)
    with adapters.using(inlay.Stack("a", "b")):
        there = adapters._running.act("embedding", x, lambda name, new: new)
        back = adapters._running.act("output", there, lambda name, new: new)
    torch.testing.assert_close(there, maps[1](maps[0](x)))
    torch.testing.assert_close(back, x)


def test_both_ends_learn_and_are_saved(tmp_path):
    model = masked()
    inlay.attach(model)
    entry = model.adapters.add("a", FORMS[1])
    model.adapters.train("a")
    logits = model(**tiny.batch()).logits
    (logits * torch.linspace(0, 1, logits.numel()).view_as(logits)).sum().backward()
    # The last maps start at zero, so that they learn first.
    assert all(
        p.grad.any()
        for net in ("f", "g")
        for p in entry.layer_at("embedding").coupling.get_submodule(net)[2].parameters()
    )
    tiny.stir(entry)
    inlay.save(model, "a", tmp_path / "a")
    fresh = masked()
    inlay.load(fresh, tmp_path / "a")
    fresh.adapters.use("a")
    assert torch.equal(tiny.hidden(fresh, tiny.batch()), tiny.hidden(model, tiny.batch()))


def test_without_a_language_model_head_nothing_is_undone():
    """A language's adapter under a classifier, as MAD-X uses it."""
    model = tiny.encoder()
    inlay.attach(model)
    both = model.adapters.add("both", FORMS[0])
    tiny.stir(both)
    one = model.adapters.add("one", FORMS[0], at="embedding")
    for key, tensor in one.tensors().items():
        tensor.copy_(both.tensors()[key])
    model.adapters.use("one")
    expected = tiny.hidden(model, tiny.batch())
    model.adapters.use("both")
    assert torch.equal(tiny.hidden(model, tiny.batch()), expected)


def test_places_that_cannot_be():
    small = hf.ElectraConfig(embedding_size=16, **tiny.SMALL)
    model = hf.ElectraForMaskedLM(small)
    inlay.attach(model)
    with pytest.raises(ConfigError, match=r"16 channels and the last hidden state 24.*at='embed"):
        model.adapters.add("a", "invertible")
    model.adapters.add("a", "invertible", at="embedding")
    with pytest.raises(ConfigError, match="at 'output' alone has nothing to invert"):
        model.adapters.add("b", "invertible", at="output")
    with pytest.raises(ConfigError, match="must be at least 2"):
        Invertible().build(Place(width=1, kind="embedding"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "real"}, "form is one of 'nice', 'glow'"),
        ({"reduction": 0}, "must be above 0"),
        ({"activation": "no"}, "activation is one of"),
    ],
)
def test_wrong_values(settings, message):
    with pytest.raises(ConfigError, match=message):
        Invertible(**settings)


def test_at_the_start_of_the_stream():
    model, inputs = tiny.encoder(), tiny.batch()
    inlay.attach(model)
    entry = model.adapters.add("a", "invertible", at="start")
    tiny.stir(entry)
    seen = {}
    model.encoder.layer[0].register_forward_hook(lambda m, args, out: seen.update(new=args[0]))
    model.embeddings.register_forward_hook(lambda m, args, out: seen.update(old=out))
    with model.adapters.using("a"):
        tiny.hidden(model, inputs)
    coupling = entry.layer_at("start").coupling
    torch.testing.assert_close(seen["new"], coupling(seen["old"]))
    assert not torch.equal(seen["new"], seen["old"])
    with pytest.raises(ConfigError, match="at 'start': there is one at the word vectors or"):
        model.adapters.add("b", "invertible", at="embedding, start")
