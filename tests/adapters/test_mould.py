"""An adapter made from weights is the one that is built and filled."""

import copy

import pytest
import torch

import inlay
from inlay.adapters import making
from inlay.adapters.mould import can_be_cast
from inlay.errors import AdapterError
from tests.contracts import tiny

METHODS = {
    "pfeiffer": (True, "pfeiffer"),
    "norms": (True, inlay.Bottleneck(norm_before=True, norm_after="sum", scaling="channel")),
    "lora": (True, inlay.LoRA(rank=2, init="pissa", magnitude=True)),
    "ia3": (True, "ia3"),
    "by block": (True, inlay.Bottleneck(reduction={"0": 2, "default": 4})),
    "compacter": (False, "compacter"),
    "vera": (False, "vera"),
    "side": (False, "side"),
    "full": (False, "full"),
}


@pytest.mark.parametrize("name", METHODS)
def test_as_one_that_is_built(name, monkeypatch):
    is_cast, method = METHODS[name]
    model = tiny.encoder()
    adapters = inlay.attach(model)
    tiny.stir(adapters.add("a", method), seed=3)
    given = {key: value.clone() for key, value in adapters.entry("a").tensors().items()}
    assert can_be_cast(adapters.entry("a")) is is_cast
    first = adapters.add("first", method, tensors=given)
    if is_cast and name != "by block":  # a mapping is no key to know the same request by
        monkeypatch.setattr(making, "build_layers", lambda *_: pytest.fail("built anew"))
    second = adapters.add("second", method, tensors=given)
    adapters.use("a")
    expected = tiny.hidden(model, tiny.batch())
    for entry in (first, second):
        assert entry.tensors().keys() == given.keys()
        assert all(torch.equal(entry.tensors()[key], given[key]) for key in given)
        assert not any(p.requires_grad for p in entry.parameters())
        assert {m.training for m in entry.modules()} == {model.training}
        assert [n for n, _ in entry.named_modules()] == [n for n, _ in first.named_modules()]
        adapters.use(entry.name)
        assert torch.equal(tiny.hidden(model, tiny.batch()), expected)
    for value in given.values():
        value.zero_()
    assert torch.equal(tiny.hidden(model, tiny.batch()), expected), "the weights are copies"


def test_nothing_is_shared():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    given = {k: v.clone() for k, v in adapters.add("a", "pfeiffer").tensors().items()}
    one, two, three = (adapters.add(name, "pfeiffer", tensors=given) for name in "bcd")
    assert not {id(m) for m in two.modules()} & {id(m) for m in three.modules()}
    two.register_forward_hook(lambda *_: None)
    two.layer_at("0.ffn").up.register_forward_hook(lambda *_: None)
    two.train()
    tiny.stir(two)
    assert not any(m._forward_hooks for e in (one, three) for m in e.modules())
    assert not any(m.training for m in three.modules())
    assert all(torch.equal(three.tensors()[key], given[key]) for key in given)
    adapters.train("c")
    assert not any(p.requires_grad for p in three.parameters())
    twin = copy.deepcopy(model)
    tiny.stir(twin.adapters.entry("d"))
    assert all(torch.equal(three.tensors()[key], given[key]) for key in given)
    adapters.remove("c")
    assert adapters.names == ("a", "b", "d")
    assert adapters.add("c", "pfeiffer", tensors=given).num_adapter_parameters == (
        one.num_adapter_parameters
    )


def test_a_base_that_has_moved():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    given = {k: v.clone() for k, v in adapters.add("a", "pfeiffer").tensors().items()}
    for name in "bc":
        adapters.add(name, "pfeiffer", tensors=given)
    model.double()
    for name in "de":
        entry = adapters.add(name, "pfeiffer", tensors=given)
        assert {p.dtype for p in entry.parameters()} == {torch.float64}
    low = {key: value.bfloat16() for key, value in given.items()}
    assert adapters.add("f", "pfeiffer", tensors=low).layer_at("0.ffn").up.weight.dtype == (
        torch.float64
    )


def test_heads_are_among_the_weights():
    model = tiny.classifier()
    adapters = inlay.attach(model)
    given = {k: v.clone() for k, v in adapters.add("a", "pfeiffer").tensors().items()}
    assert "own_head/classifier/weight" in given
    for name in "bc":
        own = adapters.add(name, "pfeiffer", tensors=given).tensors()
        assert all(torch.equal(own[key], given[key]) for key in given)
    body = {key: value for key, value in given.items() if key.startswith("site/")}
    for name in "de":
        assert adapters.add(name, "pfeiffer", copy_heads=False, tensors=body).own_heads == {}
    with pytest.raises(AdapterError, match="'own_head/classifier/bias'.* is not there"):
        adapters.add("f", "pfeiffer", tensors=body)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda g: g.pop("site/1.ffn/up.bias"),
            r"'site/1.ffn/up.bias', which this .* is not there",
        ),
        (lambda g: g.update(more=torch.ones(1)), "tensor 'more' has no place on this model"),
        (
            lambda g: g.update({"site/0.ffn/up.bias": torch.ones(3)}),
            r"add\('x', tensors=...\): tensor 'site/0.ffn/up.bias' is 3, but this model needs 24",
        ),
        (
            lambda g: g.update({"site/0.ffn/up.bias": torch.ones(24, dtype=torch.long)}),
            "'site/0.ffn/up.bias' is 24 of torch.int64, but this model needs 24 floating-point",
        ),
    ],
)
def test_wrong_weights(number, change, message):
    """Whether the adapter is built or cast, nothing is left behind."""
    model = tiny.encoder()
    adapters = inlay.attach(model)
    given = {k: v.clone() for k, v in adapters.add("a", "pfeiffer").tensors().items()}
    if number:
        adapters.add("b", "pfeiffer", tensors=given)
    change(given)
    names = adapters.names
    with pytest.raises(AdapterError, match=message):
        adapters.add("x", "pfeiffer", tensors=given)
    assert adapters.names == names
