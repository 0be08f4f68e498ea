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


def test_training_a_fusion_leaves_its_adapters_frozen(model):
    fuse = inlay.Fuse("a", "b")
    for seed, name in enumerate("ab"):
        tiny.stir(model.adapters.add(name, "lora"), seed=seed)
    entry = model.adapters.add_combiner(fuse)
    model.adapters.train(fuse)
    assert model.adapters.active == fuse
    assert model.adapters.in_training == ("fuse(a, b)",)
    learning = {id(p) for p in model.parameters() if p.requires_grad}
    assert learning == {id(p) for p in entry.parameters()}
    before = {k: v.clone() for k, v in model.adapters.entry("a").tensors().items()}
    optimizer = torch.optim.SGD(entry.parameters(), lr=0.5)
    losses = []
    for _ in range(8):
        loss = model(**tiny.batch()).last_hidden_state.square().mean() + model.adapters.penalty()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    after = model.adapters.entry("a").tensors()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    model.adapters.train(inlay.Parallel("a", "b"))
    assert model.adapters.in_training == ("a", "b")
    with pytest.raises(CompositionError, match="there is no adapter to train"):
        model.adapters.train(inlay.Rows(None))


def test_learned_combinations_hold_their_adapters(model):
    for name in "abc":
        model.adapters.add(name, "lora")
    inner = inlay.Fuse("a", "b")
    with pytest.raises(CompositionError, match="learns nothing; give Fuse"):
        model.adapters.add_combiner(inlay.Stack("a", "b"))
    with pytest.raises(CompositionError, match=r"Fuse\('a', 'b'\) has no learned weights"):
        model.adapters.add_combiner(inlay.Route(inner, "c"))
    model.adapters.add_combiner(inner)
    with pytest.raises(AdapterError, match="there is an adapter 'fuse\\(a, b\\)' already"):
        model.adapters.add_combiner(inner)
    outer = inlay.Route(inner, "c", name="outer")
    model.adapters.add_combiner(outer)
    for name in ("a", "c", inner.key):
        with pytest.raises(CompositionError, match="is over .*; remove that first"):
            model.adapters.remove(name)
    model.adapters.use(inlay.Stack("c", "outer"))
    with pytest.raises(CompositionError, match="'outer' is part of Stack"):
        model.adapters.remove("outer")
    model.adapters.use("outer")
    for name in ("outer", inner.key, "a", "b", "c"):
        model.adapters.remove(name)
    assert model.adapters.active is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_runs_for_all_threads_is_not_removed_under_another(model):
    for name in "ab":
        model.adapters.add(name, "lora")
    model.adapters.use("a")
    with (
        model.adapters.using("b"),
        pytest.raises(CompositionError, match="'a' is part of 'a', which is active"),
    ):
        model.adapters.remove("a")
