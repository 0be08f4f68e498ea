"""The active composition as the hooks see it."""

import pytest
import torch

import inlay
from inlay.errors import AdapterError, CompositionError
from tests.contracts import tiny


def test_the_stream_is_kept_only_for_those_who_read_it():
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("reads", inlay.Bottleneck(input="r"), at="ffn")
    model.adapters.add("does-not", inlay.Bottleneck(input="x"), at="ffn")
    running = model.adapters._running
    for name, wants in (("reads", True), ("does-not", False), (None, False)):
        model.adapters.use(name)
        assert running.wants_stream("1.ffn") is wants
        tiny.hidden(model, tiny.batch())
        assert model.adapters._hooks.local.streams == {}, "nothing is left behind"


def test_the_mask_reaches_those_who_look_at_neighbours():
    model = tiny.encoder()
    inlay.attach(model)
    entry = model.adapters.add("conv", inlay.ConvAdapter(reduction=4), at="1.ffn")
    masks = []
    entry.layer_at("1.ffn").register_forward_pre_hook(lambda m, args: masks.append(args[2:]))
    model.adapters.use("conv")
    inputs = tiny.batch()
    tiny.hidden(model, inputs)
    model(inputs["input_ids"], inputs["attention_mask"])
    tiny.hidden(model, {"input_ids": inputs["input_ids"]})
    assert torch.equal(masks[0][0], inputs["attention_mask"])
    assert torch.equal(masks[1][0], inputs["attention_mask"]), "also as a positional argument"
    assert masks[2] == ()


def test_a_cache_is_refused_by_those_who_look_at_neighbours():
    model = tiny.decoder()
    inlay.attach(model)
    model.adapters.add("conv", inlay.ConvAdapter(reduction=4))
    model.adapters.use("conv")
    first = model(torch.tensor([[5, 6, 7]]), use_cache=True)
    with pytest.raises(AdapterError, match="generate with use_cache=False"):
        model(torch.tensor([[8]]), past_key_values=first.past_key_values, use_cache=True)


def test_rows_are_for_batches_of_their_size():
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("a", "lora")
    model.adapters.use(inlay.Rows("a", None))
    with pytest.raises(CompositionError, match="batch of 2 rows, but the model was given 3"):
        tiny.hidden(model, tiny.batch(3))
    with pytest.raises(CompositionError, match="batch of 2 rows, but the model was given 4"):
        tiny.hidden(model, tiny.batch(4))
    assert len(tiny.hidden(model, tiny.batch(2))) == 2


def test_a_part_of_the_model_cannot_repeat_its_batch():
    model = tiny.classifier()
    inlay.attach(model)
    model.adapters.add("a", "lora")
    model.adapters.use(inlay.Parallel("a", None))
    inputs = tiny.batch(2)
    assert len(tiny.hidden(model, inputs)) == 4
    with pytest.raises(CompositionError, match="a part of it was called directly"):
        model.bert(**inputs)


def test_weights_and_penalties_of_what_ran():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    for seed, name in enumerate("ab"):
        tiny.stir(adapters.add(name, "lora", at="q", layers=[0, 1]), seed=seed)
    fuse, route = inlay.Fuse("a", "b"), inlay.Route("a", "b")
    adapters.add_combiner(fuse, inlay.Fusion(regularisation=0.5))
    adapters.add_combiner(route, inlay.Gate(balance=0.25))
    assert adapters.penalty() == 0
    adapters.use(fuse)
    with adapters.combining_weights() as seen:
        tiny.hidden(model, tiny.batch(2, 6))
    assert list(seen) == [fuse.key]
    assert list(seen[fuse.key]) == ["0.attention.q", "1.attention.q"]
    assert [w.shape for w in seen[fuse.key]["0.attention.q"]] == [(2, 6, 2)]
    values = [c.value.weight for c in adapters.entry(fuse.key).combiners.values()]
    far = sum((value - torch.eye(24)).square().sum() for value in values)
    torch.testing.assert_close(adapters.penalty(), 0.5 * far)
    adapters.train(route)
    model(**tiny.batch())
    with adapters.combining_weights() as seen:
        model(**tiny.batch())
    expected = sum(
        0.25 * 2 * (w[0].reshape(-1, 2)[mask] .mean(0).square()).sum()
        for w in seen[route.key].values()
        for mask in [tiny.batch()["attention_mask"].reshape(-1).bool()]
    )  # fmt: skip
    torch.testing.assert_close(adapters.penalty(), expected)
    adapters.penalty().backward()
    assert all(p.grad is not None for p in adapters.entry(route.key).parameters())
    assert all(p.grad is None for p in adapters.entry("a").parameters())
