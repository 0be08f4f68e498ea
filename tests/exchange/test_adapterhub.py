"""Loading is strict, and a model that a checkpoint does not fit is left as it was."""

import json

import pytest
import torch
import transformers as hf

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
    assert loaded.composition == "my own. name"
    assert model.adapters.names == ("my own. name",)
    assert loaded.card["source"]["format"] == "adapterhub"
    assert loaded.card["source"]["config"]["reduction_factor"] == 6
    inlay.save(model, loaded.composition, tmp_path / "ours", card=loaded.card)
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


def several(folder, **options):
    """Write a prefix and a bottleneck as one adapter."""
    start = "prefix_tuning.prefix_tunings.a.self_prefix.control_trans"
    tensors = {start: torch.randn(2 * 3 * 2 * 24)}
    for block in range(3):
        tensors |= hub.bottleneck(f"encoder.layer.{block}.output", seed=block)
        if options.get("mh_adapter"):
            tensors |= hub.bottleneck(f"encoder.layer.{block}.attention.output", seed=block)
    prefix = {"architecture": "prefix_tuning", "flat": True, "prefix_length": 2}
    config = {"architecture": "union", "configs": [prefix, hub.DEFAULTS | options]}
    return hub.write(folder, config, tensors)


def test_an_adapter_of_several_methods(model, tmp_path):
    several(tmp_path)
    assert load_adapterhub(model, tmp_path, name="my own") == "my own"
    method = model.adapters.entry("my own").method
    assert [(part.method.name, part.at) for part in method.parts] == [
        ("prefix", "attention"), ("bottleneck", "ffn"),
    ]  # fmt: skip
    inlay.save(model, "my own", tmp_path / "ours")
    inlay.load(model, tmp_path / "ours", name="again")
    with model.adapters.using("my own"):
        wanted = tiny.hidden(model, tiny.batch())
    with model.adapters.using("again"):
        assert torch.equal(tiny.hidden(model, tiny.batch()), wanted)


def test_several_methods_at_one_site_are_several_adapters(model, tmp_path):
    several(tmp_path, mh_adapter=True)
    loaded = read_adapterhub(model, tmp_path, name="my own")
    assert loaded.composition == inlay.Stack("my own/prefix", "my own/bottleneck")
    assert model.adapters.names == ("my own/prefix", "my own/bottleneck")
    outputs = []
    for composition in (None, *loaded.composition.children, loaded.composition):
        with model.adapters.using(composition):
            outputs.append(tiny.hidden(model, tiny.batch()))
    for index, one in enumerate(outputs):
        assert all(not torch.equal(one, other) for other in outputs[:index])
    for name in model.adapters.names[::-1]:
        model.adapters.remove(name)
    with pytest.raises(FormatError, match="act at one site; load it by `read_adapterhub"):
        load_adapterhub(model, tmp_path)
    assert model.adapters.names == ()


def test_several_adapters_come_all_or_none(model, tmp_path):
    several(tmp_path, mh_adapter=True)
    model.adapters.add("a/bottleneck", "bottleneck")
    with pytest.raises(AdapterError, match="there is an adapter 'a/bottleneck' already"):
        read_adapterhub(model, tmp_path)
    assert model.adapters.names == ("a/bottleneck",)


def test_one_method_wired_in_two_ways(tmp_path):
    """At one place the peer takes the stream for the sublayer's output."""
    config = hf.AlbertConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
        vocab_size=97, embedding_size=12,
    )  # fmt: skip
    model = tiny.perturbed(hf.AlbertModel(config))
    inlay.attach(model)
    owner = "encoder.albert_layer_groups.0.albert_layers.0"
    tensors = hub.bottleneck(f"{owner}.output_adapters")
    tensors |= hub.bottleneck(f"{owner}.attention.attention_adapters")
    options = {"mh_adapter": True, "original_ln_before": False}
    hub.write(tmp_path, hub.DEFAULTS | options, tensors)
    parts = model.adapters.entry(load_adapterhub(model, tmp_path)).method.parts
    assert {part.at: part.method.input for part in parts} == {"attention": "r", "ffn": "x"}
    # What is added to is the peer's own state then, which has the stream in the output's place.
    options = {"mh_adapter": True, "residual_before_ln": False}
    hub.write(tmp_path, hub.DEFAULTS | options, tensors)
    with pytest.raises(FormatError, match="cannot be expressed at '0.attention'"):
        load_adapterhub(model, tmp_path, "other")


def test_adapters_for_another_base(model, tmp_path):
    hub.write(tmp_path / "xmod", hub.DEFAULTS, {}, model_type="xmod")
    with pytest.raises(FormatError, match="'xmod' are not read: .* takes the language modules out"):
        load_adapterhub(model, tmp_path / "xmod")


@pytest.mark.parametrize(
    ("kind", "count"), [("DebertaModel", 1), ("DebertaAdapterModel", 0), ("left out", 0)]
)
def test_a_bias_that_no_file_holds(tmp_path, kind, count):
    model = tiny.perturbed(hf.DebertaModel(hf.DebertaConfig(**tiny.SMALL)))
    inlay.attach(model)
    made(tmp_path)
    path = tmp_path / "adapter_config.json"
    facts = {} if kind == "left out" else {"model_class": kind}
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    notes = read_adapterhub(model, tmp_path).card["notes"]
    assert sum("a bias by chance, which no file holds" in note for note in notes) == count


def test_an_unknown_method(model, tmp_path):
    made(tmp_path, architecture="loras")
    with pytest.raises(FormatError, match="'loras' is not supported; .* Did you mean 'lora'"):
        load_adapterhub(model, tmp_path)


@pytest.mark.parametrize(
    ("architecture", "why"),
    [("prompt_tuning", "behind the positions and the norm"), ("mtl_lora", "for each task")],
)
def test_methods_without_a_form_are_refused_with_the_reason(tmp_path, architecture, why):
    model = tiny.encoder()
    inlay.attach(model)
    tensors = {"prompt_tuning.prompt_tunings.a.prompt_embedding.weight": torch.ones(3, 24)}
    folder = hub.write(tmp_path, {"architecture": architecture}, tensors)
    with pytest.raises(FormatError, match=f"{architecture}' is not read: .*{why}"):
        load_adapterhub(model, folder)
