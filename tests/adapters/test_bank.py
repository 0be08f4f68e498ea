"""What a user does at `model.adapters`, and every way to do it wrong."""

import pytest
import torch

import inlay
from inlay.errors import AdapterError, CompositionError, ConfigError, SiteError
from tests.contracts import tiny


@pytest.fixture
def model():
    model = tiny.encoder()
    inlay.attach(model)
    return model


def test_names_are_checked(model):
    model.adapters.add("sst-2", "lora")
    with pytest.raises(AdapterError, match="there is an adapter 'sst-2' already"):
        model.adapters.add("sst-2", "lora")
    for name in ("", None, 3):
        with pytest.raises(AdapterError, match="a text that is not empty"):
            model.adapters.add(name, "lora")
    for action in (model.adapters.use, model.adapters.remove, model.adapters.train,
                   model.adapters.entry, model.adapters.merge):  # fmt: skip
        with pytest.raises(AdapterError, match=r"no adapter 'sst2'.*Did you mean 'sst-2'"):
            action("sst2")
    model.adapters.remove("sst-2")
    with pytest.raises(AdapterError, match="it has none yet"):
        model.adapters.use("sst-2")


def test_methods_and_places_are_checked(model):
    with pytest.raises(ConfigError, match=r"no method 'loraa'.*Did you mean 'lora'"):
        model.adapters.add("a", "loraa")
    with pytest.raises(SiteError, match="at='cross_attention' matches no site; there are"):
        model.adapters.add("a", inlay.Bottleneck(), at="cross_attention")
    with pytest.raises(SiteError, match=r"LoRA cannot act at '0.ffn', a site of kind 'ffn'"):
        model.adapters.add("a", "lora", at="ffn")
    with pytest.raises(AdapterError, match="at, layers and submodel have no effect"):
        model.adapters.add("a", "full", layers="upper")
    with pytest.raises(AdapterError, match="is no method"):
        model.adapters.add("a", {"rank": 3})
    assert model.adapters.names == ()
    assert not any(m._forward_hooks for m in model.modules())


def test_presets_bring_their_placement(model):
    entry = model.adapters.add("h", "houlsby")
    assert list(entry.layers)[:2] == ["0.attention", "0.ffn"]
    assert list(model.adapters.add("p", "pfeiffer").layers) == ["0.ffn", "1.ffn", "2.ffn"]
    upper = model.adapters.add("u", "pfeiffer[reduction=6]", layers="upper")
    assert list(upper.layers) == ["1.ffn", "2.ffn"]


def test_a_stack_runs_one_after_the_other(model):
    for number, name in enumerate(("a", "b")):
        entry = model.adapters.add(name, inlay.Bottleneck(input="x", activation="tanh"), at="ffn")
        tiny.stir(entry, seed=number)
    inputs = tiny.batch()
    a, b = (model.adapters.entry(name).layer_at("2.ffn") for name in ("a", "b"))
    calls = []
    a.register_forward_hook(lambda m, args, out: calls.append(("a", args[0], out)))
    b.register_forward_hook(lambda m, args, out: calls.append(("b", args[0], out)))
    with model.adapters.using(inlay.Stack("a", "b")):
        stacked = tiny.hidden(model, inputs)
    assert [name for name, _, _ in calls] == ["a", "b"]
    assert torch.equal(calls[1][1], calls[0][2]), "b reads what a has made"
    with model.adapters.using(inlay.Stack("b", "a")):
        assert not torch.equal(tiny.hidden(model, inputs), stacked)
    with model.adapters.using(inlay.Stack("a")):
        alone = tiny.hidden(model, inputs)
    with model.adapters.using("a"):
        assert torch.equal(tiny.hidden(model, inputs), alone)


def test_loras_in_a_stack_add(model):
    for number, name in enumerate(("a", "b")):
        tiny.stir(model.adapters.add(name, inlay.LoRA(rank=2, alpha=5), at="o"), seed=number)
    layers = [model.adapters.entry(name).layer_at("0.attention.o") for name in ("a", "b")]
    linear = model.encoder.layer[0].attention.output.dense
    seen = []
    handle = linear.register_forward_hook(lambda m, args, out: seen.append((args[0], out)))
    with model.adapters.using(inlay.Stack("a", "b")):
        tiny.hidden(model, tiny.batch())
    handle.remove()
    x, out = seen[0]
    expected = linear.forward(x) + sum(x @ layer.weight_update().T for layer in layers)
    torch.testing.assert_close(out, expected)


def test_comparators_are_used_alone(model):
    model.adapters.add("full", "full")
    model.adapters.add("a", "lora")
    with pytest.raises(CompositionError, match="'full' exchanges the base's own weights"):
        model.adapters.use(inlay.Stack("a", "full"))
    with pytest.raises(CompositionError, match=r"42 is no composition"):
        model.adapters.use(42)


def test_removing_a_part_of_an_active_stack_is_refused(model):
    for name in ("a", "b"):
        model.adapters.add(name, "lora")
    model.adapters.use(inlay.Stack("a", "b"))
    with pytest.raises(CompositionError, match="'a' is part of Stack"):
        model.adapters.remove("a")
    model.adapters.use("b")
    model.adapters.remove("a")
    assert model.adapters.names == ("b",)


def test_using_restores_even_after_an_error(model):
    model.adapters.add("a", "lora")
    model.adapters.use("a")
    with pytest.raises(RuntimeError, match="inside"), model.adapters.using(None):
        assert model.adapters.active is None
        raise RuntimeError("inside")
    assert model.adapters.active == "a"


def test_training_moves_from_one_to_the_other_and_ends(model):
    first = model.adapters.add("a", "lora")
    second = model.adapters.add("b", "lora")
    frozen = model.get_parameter("embeddings.word_embeddings.weight")
    frozen.requires_grad_(False)
    model.adapters.train("a")
    model.adapters.train("b")
    assert not any(p.requires_grad for p in first.parameters())
    assert all(p.requires_grad for p in second.parameters())
    assert model.adapters.in_training == ("b",)
    model.adapters.remove("b")
    flags = {n: p.requires_grad for n, p in model.named_parameters() if "adapters" not in n}
    assert [name for name, flag in flags.items() if not flag] == [
        "embeddings.word_embeddings.weight"
    ]


def test_train_with_a_boolean_is_pytorchs_own(model):
    entry = model.adapters.add("a", inlay.Bottleneck(dropout=0.5))
    model.train()
    assert entry.training
    model.train(mode=False)
    assert not entry.training
    assert model.adapters.active is None


def test_train_several_stacks_them(model):
    for name in ("a", "b"):
        model.adapters.add(name, "lora")
    model.adapters.train(["a", "b"])
    assert model.adapters.active == inlay.Stack("a", "b")
    assert model.adapters.in_training == ("a", "b")
