"""AdapterDrop: the layers of the lowest blocks are left out, when asked and in training."""

import threading
from collections import Counter

import pytest
import torch

import inlay
from inlay.errors import CompositionError
from tests.contracts import tiny


def with_adapter(at="attention, ffn", layers="all", method="bottleneck[inner_width=5]"):
    model = tiny.classifier()
    inlay.attach(model)
    entry = model.adapters.add("a", method, at=at, layers=layers)
    tiny.stir(entry)
    return model, entry


@pytest.mark.parametrize("method", ["bottleneck[inner_width=5]", "lora"])
@pytest.mark.parametrize("skip", [1, 2])
def test_skipping_equals_an_adapter_in_the_higher_blocks_only(method, skip):
    at = "linear" if method == "lora" else "attention, ffn"
    model, entry = with_adapter(at=at, method=method)
    higher = model.adapters.add("higher", method, at=at, layers=f"{skip}-2")
    for key, tensor in (higher.tensors() | {}).items():
        tensor.copy_(entry.tensors()[key])
    inputs = tiny.batch()
    with model.adapters.using("higher"):
        expected = tiny.hidden(model, inputs)
    with model.adapters.using("a"):
        whole = tiny.hidden(model, inputs)
    with model.adapters.using("a", skip_lowest=skip):
        assert torch.equal(tiny.hidden(model, inputs), expected)
    model.adapters.use("a", skip_lowest=skip)
    assert torch.equal(tiny.hidden(model, inputs), expected)
    with model.adapters.using("a"):
        assert torch.equal(tiny.hidden(model, inputs), whole)
    model.adapters.use("a")
    assert torch.equal(tiny.hidden(model, inputs), whole)
    assert not torch.equal(whole, expected)


def test_a_number_of_one_thread_is_not_seen_in_another():
    model, _ = with_adapter()
    model.adapters.use("a")
    expected, found = tiny.hidden(model, tiny.batch()), []
    with model.adapters.using("a", skip_lowest=2):
        other = threading.Thread(target=lambda: found.append(tiny.hidden(model, tiny.batch())))
        other.start()
        other.join()
    assert torch.equal(found[0], expected)


def test_the_ends_are_in_no_block():
    model, _ = with_adapter(at="embedding", method="embedding")
    with pytest.raises(CompositionError, match="has no effect on this adapter: it is in no block"):
        model.adapters.use("a", skip_lowest=1)


def test_robust_training_draws_every_number():
    model, entry = with_adapter()
    model.adapters.train("a", drop_lowest=2)
    model.eval()
    entry.train()
    labels = torch.tensor([0, 1, 2])
    torch.manual_seed(0)
    seen = Counter()
    for _ in range(60):
        model.zero_grad()
        model(**tiny.batch(), labels=labels).loss.backward()
        touched = {
            int(site[0])
            for site, layer in entry.layers.items()
            if all(p.grad is not None for p in layer.parameters())
        }
        dropped = min(touched)
        assert touched == set(range(dropped, 3)), "the lowest ones, and no others"
        seen[dropped] += 1
    assert set(seen) == {0, 1, 2}
    assert min(seen.values()) >= 10
    model.eval()
    whole = tiny.hidden(model, tiny.batch())
    model.adapters.use("a")
    assert torch.equal(tiny.hidden(model, tiny.batch()), whole), "only training is robust"


def test_a_later_training_drops_nothing():
    model, entry = with_adapter()
    model.adapters.train("a", drop_lowest=2)
    model.adapters._running.dropping.drawn = 2
    model.adapters.train("a")
    model.train()
    for _ in range(5):
        model(**tiny.batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
        assert all(p.grad is not None for p in entry.layer_at("0.ffn").parameters())
        model.zero_grad()


def test_checkpointed_blocks_run_again_with_the_number_of_their_step():
    gradients = []
    for checkpointing in (False, True):
        model, entry = with_adapter()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.adapters.train("a", drop_lowest=2)
        model.train()
        torch.manual_seed(4)  # draws 1, and 0 if it drew again
        model(**tiny.batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
        gradients.append({k: p.grad for k, p in entry.named_parameters()})
    plain, saved = gradients
    assert {k for k, g in plain.items() if g is None} == {k for k, g in saved.items() if g is None}
    for key, gradient in plain.items():
        if gradient is not None:
            torch.testing.assert_close(saved[key], gradient)


@pytest.mark.parametrize("kind", [inlay.Fuse, inlay.Route])
def test_a_combination_that_is_left_out_lets_a_frozen_ladder_read(kind):
    """What is not trained is not left out: a ladder's end, which is combined, needs every rung."""
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    tiny.stir(adapters.add("side", "side"), seed=1)
    for name, layers in (("all", "all"), ("upper", [2])):
        at_blocks = inlay.Bottleneck(inner_width=4, activation="tanh")
        tiny.stir(adapters.add(name, at_blocks, at="block", layers=layers), seed=2)
    whole = kind(inlay.Stack("side", "all"), inlay.Stack("all", "side"), "side")
    upper = kind(inlay.Stack("side", "upper"), inlay.Stack("upper", "side"), "side")
    learning, twin = adapters.add_combiner(whole), adapters.add_combiner(upper)
    tiny.stir(learning, seed=3)
    for own, other in (("all", "upper"), (whole.key, upper.key)):
        source, target = adapters.entry(own).tensors(), adapters.entry(other).tensors()
        with torch.no_grad():
            for key, tensor in target.items():
                tensor.copy_(source[key])
    inputs = tiny.batch()
    with adapters.using(upper):
        wanted = tiny.hidden(model, inputs)
    adapters.train(whole, drop_lowest=2)
    learning.train()
    adapters._running.dropping.draw = lambda: None
    adapters._running.dropping.drawn = 2
    torch.testing.assert_close(tiny.hidden(model, inputs), wanted)
    adapters._running.dropping.drawn = 0
    assert not torch.allclose(tiny.hidden(model, inputs), wanted)
    with adapters.using("upper"):
        assert not torch.allclose(tiny.hidden(model, inputs), wanted)
    assert not twin.training


@pytest.mark.parametrize(
    ("layers", "number", "message"),
    [
        ("all", 3, "between 0 and 2 of the lowest can be left out"),
        ("all", -1, "between 0 and 2 of the lowest can be left out"),
        ("1-2", 1, "has no effect on this adapter: its lowest layer is in block 1"),
        ("0-1", 2, "would leave out all layers of this adapter; .* at most 1 can be left out"),
    ],
)
def test_numbers_that_cannot_be(layers, number, message):
    model, _ = with_adapter(layers=layers)
    with pytest.raises(CompositionError, match=message):
        model.adapters.use("a", skip_lowest=number)
    with pytest.raises(CompositionError, match=message):
        model.adapters.train("a", drop_lowest=number)
    assert model.adapters.active is None


def test_what_is_merged_cannot_be_skipped():
    model, _ = with_adapter(at="linear", method="lora")
    model.adapters.merge("a")
    with pytest.raises(CompositionError, match=r"call unmerge\(\) first"):
        model.adapters.use("a", skip_lowest=1)
