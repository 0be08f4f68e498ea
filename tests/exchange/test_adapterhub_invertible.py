"""NICE of AdapterHub, on the stream as it enters the first block."""

import pytest
import torch
import transformers as hf
from torch.nn import functional as F

import inlay
from inlay.errors import FormatError
from inlay.exchange.adapterhub import read_adapterhub
from tests.contracts import tiny
from tests.exchange import hub

OPTIONS = hub.DEFAULTS | {"inv_adapter": "nice", "inv_adapter_reduction_factor": 3}


def coupling(start="invertible_adapters.a"):
    tensors = {}
    for net in "FG":
        tensors[f"{start}.{net}.0.weight"] = torch.randn(4, 12)
        tensors[f"{start}.{net}.0.bias"] = torch.randn(4)
        tensors[f"{start}.{net}.2.weight"] = torch.randn(12, 4)
        tensors[f"{start}.{net}.2.bias"] = torch.randn(12)
    return tensors


def written(folder, change=None, options=None, owner="layers.{}.output_adapters"):
    tensors = coupling() | (change or {})
    for block in range(3):
        tensors |= hub.bottleneck(owner.format(block), seed=block)
    return hub.write(folder, OPTIONS | (options or {}), tensors), tensors


def test_equals_the_formula(tmp_path):
    folder, tensors = written(tmp_path)
    model = tiny.decoder()
    inlay.attach(model)
    loaded = read_adapterhub(model, folder)
    parts = model.adapters.entry(loaded.composition).method.parts
    assert [(part.method.name, part.at) for part in parts] == [
        ("bottleneck", "ffn"), ("invertible", "start"),
    ]  # fmt: skip
    assert "not undone before a language model's head" in " ".join(loaded.card["notes"])
    ids = torch.tensor([[3, 8, 11]])

    def net(name, x):
        t = {k.removeprefix(f"invertible_adapters.a.{name}."): v for k, v in tensors.items()}
        return F.linear(F.silu(F.linear(x, t["0.weight"], t["0.bias"])), t["2.weight"], t["2.bias"])

    seen = {}
    first = model.model.layers[0]
    first.register_forward_hook(lambda m, args, out: seen.setdefault("stream", args[0]))
    one, two = model.model.embed_tokens(ids).detach().chunk(2, dim=-1)
    one = one + net("F", two)
    expected = torch.cat([one, two + net("G", one)], dim=-1)
    with model.adapters.using(loaded.composition):
        tiny.hidden(model, {"input_ids": ids})
    torch.testing.assert_close(seen["stream"], expected)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"inv_adapter": "glow"}, "option inv_adapter='glow' cannot be used; 'nice' can"),
        ({"invertible_adapters.a.F.2.bias": torch.ones(7)}, {}, "F.2.bias' is 7, but .* be 12"),
        ({"invertible_adapters.a.H.bias": torch.ones(7)}, {}, "a.H.bias' has no place"),
        ({"x.invertible_adapters.a.F.0.bias": torch.ones(7)}, {}, "no tensors .*, or of several"),
    ],
)
def test_what_cannot_be_read(tmp_path, change, options, message):
    folder, _ = written(tmp_path, change, options)
    model = tiny.decoder()
    inlay.attach(model)
    with pytest.raises(FormatError, match=message):
        read_adapterhub(model, folder)
    assert model.adapters.names == ()


def test_a_model_without_a_start(tmp_path):
    tensors = coupling() | hub.bottleneck(
        "encoder.albert_layer_groups.0.albert_layers.0.output_adapters"
    )
    folder = hub.write(tmp_path, OPTIONS, tensors)
    config = hf.AlbertConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
        vocab_size=97, embedding_size=24,
    )  # fmt: skip
    model = tiny.perturbed(hf.AlbertModel(config))
    inlay.attach(model)
    with pytest.raises(FormatError, match="first block, for which this model has no site"):
        read_adapterhub(model, folder)
    assert model.adapters.names == ()


def test_where_the_peer_acts_elsewhere(tmp_path):
    folder, _ = written(tmp_path)
    model = tiny.decoder()
    inlay.attach(model)
    (folder / "adapter_interface.json").write_text('{"interface": {}}')
    tensors = coupling()  # alone, as the bottleneck is refused before
    config = {"architecture": None, "output_adapter": False, "mh_adapter": False}
    hub.write(folder, OPTIONS | config, tensors)
    with pytest.raises(FormatError, match="acts on the word vectors and is undone"):
        read_adapterhub(model, folder)
    config = hf.DebertaV2Config(**tiny.SMALL, conv_kernel_size=3)
    model = tiny.perturbed(hf.DebertaV2Model(config))
    inlay.attach(model)
    folder, _ = written(tmp_path / "conv", owner="encoder.layer.{}.output")
    with pytest.raises(FormatError, match="the convolution beside the first block"):
        read_adapterhub(model, folder)
