"""Loading is strict, and a model that a checkpoint does not fit is left as it was."""

import pytest
import torch

import inlay
from inlay.errors import AdapterError, FormatError
from inlay.exchange.adapterhub import load_adapterhub, read_adapterhub
from tests.contracts import tiny
from tests.exchange import hub


def made(folder, change=lambda tensors: None, blocks=3, **options):
    tensors = {}
    for block in range(blocks):
        tensors |= hub.bottleneck(f"encoder.layer.{block}.output", seed=block)
    change(tensors)
    return hub.write(folder, hub.DEFAULTS | options, tensors)


@pytest.fixture
def model():
    model = tiny.encoder()
    inlay.attach(model)
    return model


def test_the_name_and_the_card(model, tmp_path):
    made(tmp_path, reduction_factor=6)
    loaded = read_adapterhub(model, tmp_path, name="my own. name")
    assert loaded.name == "my own. name"
    assert model.adapters.names == ("my own. name",)
    assert loaded.card["source"]["format"] == "adapterhub"
    assert loaded.card["source"]["config"]["reduction_factor"] == 6
    inlay.save(model, loaded.name, tmp_path / "ours", card=loaded.card)
    other = tiny.encoder()
    inlay.load(other, tmp_path / "ours", name="again")
    inputs = tiny.batch()
    with model.adapters.using("my own. name"), other.adapters.using("again"):
        assert torch.equal(tiny.hidden(model, inputs), tiny.hidden(other, inputs))


def test_a_taken_name_and_a_model_without_adapters(model, tmp_path):
    made(tmp_path)
    load_adapterhub(model, tmp_path)
    with pytest.raises(AdapterError, match="there is an adapter 'a' already"):
        load_adapterhub(model, tmp_path)
    with pytest.raises(AdapterError, match="call `inlay.attach"):
        load_adapterhub(tiny.encoder(), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("encoder.layer.1.output.adapters.a.adapter_up.bias"),
            "'encoder.layer.1.output.adapters.a.adapter_up.bias' is missing",
        ),
        (
            lambda t: t.update({"encoder.layer.1.output.adapters.a.more": torch.ones(2)}),
            "'encoder.layer.1.output.adapters.a.more' has no place in an adapter with these",
        ),
        (
            lambda t: t.update({"encoder.layer.1.output.LayerNorm.weight": torch.ones(24)}),
            "'encoder.layer.1.output.LayerNorm.weight' is no adapter's",
        ),
        (
            lambda t: t.update(hub.bottleneck("encoder.layer.9.output")),
            "encoder.layer.9.output.adapters.a.*where this model has no block",
        ),
        (
            lambda t: t.update(hub.bottleneck("encoder.layer.1.output", name="b")),
            "is of adapter 'b', but the config is of 'a'",
        ),
        (
            lambda t: t.update(hub.bottleneck("encoder.layer.1.output", width=20)),
            "adapter_down.0.weight' is 5 x 20, but here it must be any x 24",
        ),
        (
            lambda t: t.update(hub.bottleneck("encoder.layer.1.attention.output")),
            "layer.1.attention.output.adapters.a.*has no place in an adapter with these options",
        ),
    ],
)
def test_files_that_do_not_fit(model, tmp_path, change, message):
    made(tmp_path, change)
    before = tiny.hidden(model, tiny.batch())
    with pytest.raises(FormatError, match=message):
        load_adapterhub(model, tmp_path)
    assert model.adapters.names == ()
    assert torch.equal(tiny.hidden(model, tiny.batch()), before)


def test_a_smaller_base(model, tmp_path):
    made(tmp_path, blocks=2)
    with pytest.raises(FormatError, match="no tensors for '2.ffn'"):
        load_adapterhub(model, tmp_path)


def test_an_unknown_method(model, tmp_path):
    made(tmp_path, architecture="loras")
    with pytest.raises(FormatError, match="'loras' is not supported; .* Did you mean 'lora'"):
        load_adapterhub(model, tmp_path)
