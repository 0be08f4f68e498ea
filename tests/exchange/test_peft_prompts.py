"""Prefixes and prompts: PEFT's outputs, and what is written for PEFT."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import inlay
from inlay.errors import FormatError
from inlay.exchange.peft_reading import load_peft
from inlay.exchange.peft_writing import save_peft
from inlay.sites.example import example_inputs
from tests.contracts import tiny
from tests.contracts.families import FAMILIES
from tests.exchange import peft_files


@pytest.mark.parametrize(
    ("family", "name"),
    [("bert", "prefix"), ("bert", "prompt"), ("llama", "prefix"), ("llama", "prompt"),
     ("t5", "prefix"), ("t5", "prompt")],
)  # fmt: skip
def test_golden_outputs(family, name):
    model = peft_files.golden_model(family)
    load_peft(model, peft_files.GOLDEN / family / name)
    model.adapters.use(name)
    found = tiny.hidden(model, peft_files.golden(family, "inputs"))
    outputs = peft_files.golden(family, "outputs")
    torch.testing.assert_close(found, outputs[name], rtol=0, atol=1e-4)
    model.adapters.use(None)
    found = tiny.hidden(model, peft_files.golden(family, "inputs"))
    torch.testing.assert_close(found, outputs["base"], rtol=0, atol=1e-4)


def test_a_prefix_of_a_pair_is_written_where_blocks_need_not_share_rows(tmp_path):
    model = peft_files.golden_model("t5")
    load_peft(model, peft_files.GOLDEN / "t5" / "prefix")
    save_peft(model, "prefix", tmp_path / "again")
    tiny.stir(model.adapters.entry("prefix"))
    with pytest.raises(FormatError, match="gives blocks 0 and 1 the same rows, and theirs differ"):
        save_peft(model, "prefix", tmp_path / "x")
    load_peft(model, tmp_path / "again")
    model.adapters.use("again")
    found = tiny.hidden(model, peft_files.golden("t5", "inputs"))
    torch.testing.assert_close(found, peft_files.golden("t5", "outputs")["prefix"])


METHODS = {
    "prefix": (inlay.Prefix(length=3, inner_width=None, takes_positions=True), "attention"),
    "network": (inlay.Prefix(length=3, inner_width=5, takes_positions=True), "attention"),
    "prompt": (inlay.Prompt(length=3, deviation=0.5, returned=True), "embedding"),
    "encoder": (inlay.Prompt(length=3, encoder="mlp", deviation=0.5, returned=True), "embedding"),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("build", [tiny.decoder, tiny.classifier])
def test_what_is_written_computes_the_same(name, build, tmp_path):
    model, (method, at) = build(), METHODS[name]
    tiny.stir(inlay.attach(model).add("a", method, at=at))
    model.adapters.use("a")
    ours = tiny.hidden(model, tiny.batch())
    save_peft(model, "a", tmp_path / "b")
    model.adapters.use(inlay.load(model, tmp_path / "b"))
    torch.testing.assert_close(tiny.hidden(model, tiny.batch()), ours)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("build", [tiny.decoder, tiny.classifier])
def test_peft_gives_our_outputs(name, build, tmp_path):
    peft = pytest.importorskip("peft")
    model, (method, at) = build(), METHODS[name]
    tiny.stir(inlay.attach(model).add("a", method, at=at))
    model.adapters.use("a")
    inputs = example_inputs(model)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    save_peft(model, "a", tmp_path)
    ours = tiny.hidden(model, inputs)
    inlay.detach(model)
    with torch.no_grad():
        theirs = peft.PeftModel.from_pretrained(model, tmp_path).eval()(**inputs).logits
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


def test_dropout_is_off_in_what_is_written(tmp_path):
    model = tiny.decoder()
    method = inlay.Prefix(length=3, inner_width=None, takes_positions=True, dropout=0.5)
    tiny.stir(inlay.attach(model).add("a", method))
    model.train()
    save_peft(model, "a", tmp_path / "a")
    assert model.adapters.entry("a").training
    rows = load_file(tmp_path / "a" / "adapter_model.safetensors")["prompt_embeddings"]
    model.eval()
    layers = model.adapters.entry("a").layers.values()
    assert torch.equal(rows, torch.cat([part for layer in layers for part in layer()], dim=1))


@pytest.mark.parametrize(
    ("method", "build", "message"),
    [
        (inlay.Prefix(length=3), tiny.decoder, r"train with Prefix\(takes_positions=True\)"),
        (inlay.Prompt(length=3), tiny.classifier, r"train with Prompt\(returned=True\)"),
    ],
)
def test_what_means_something_else_in_peft(method, build, message, tmp_path):
    model = build()
    inlay.attach(model).add("a", method)
    with pytest.raises(FormatError, match=message):
        save_peft(model, "a", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_prompt_before_a_causal_model_needs_no_more(tmp_path):
    model = tiny.decoder()
    inlay.attach(model).add("a", inlay.Prompt(length=3))
    save_peft(model, "a", tmp_path / "x")


def test_a_prefix_in_some_blocks_only(tmp_path):
    model = tiny.decoder()
    inlay.attach(model).add(
        "a", inlay.Prefix(length=3, inner_width=None, takes_positions=True), layers="upper"
    )
    with pytest.raises(FormatError, match="at every attention, this one at 2 of 3"):
        save_peft(model, "a", tmp_path / "x")


def test_a_base_that_peft_has_no_task_for(tmp_path):
    model = tiny.classifier()
    inlay.attach(model).add("a", inlay.Prompt(length=3, returned=True))
    with pytest.raises(FormatError, match="PEFT runs PROMPT_TUNING only for tasks that it knows"):
        save_peft(model, "a", tmp_path / "x", without_head=True)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("prefix", {"num_layers": 3}, "num_layers=3: this model has 2 attentions"),
        ("prefix", {"token_dim": 31}, "is 5 x 128, but adapter_config.json says 5 x 124"),
        ("prompt", {"num_virtual_tokens": 4}, "is 5 x 32, but adapter_config.json says 4 x 32"),
        ("prompt", {"frobnicate": 1}, "frobnicate=1"),
        ("prefix", {"num_virtual_tokens": None}, "must be a whole number"),
    ],
)
def test_options_that_do_not_fit(tmp_path, name, values, message):
    folder = shutil.copytree(peft_files.GOLDEN / "bert" / name, tmp_path / "a")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    model = peft_files.golden_model("bert")
    with pytest.raises(FormatError, match=message):
        load_peft(model, folder)
    assert not hasattr(model, "adapters")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("prompt_embeddings"), "tensor 'prompt_embeddings' is missing"),
        (lambda t: t.update({"more": torch.ones(1)}), "tensor 'more' has no place"),
        (
            lambda t: t.update({"base_model.bert.pooler.dense.bias": torch.ones(32)}),
            "would overwrite a weight of the base",
        ),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, change, message):
    folder = shutil.copytree(peft_files.GOLDEN / "bert" / "prompt", tmp_path / "a")
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    model = peft_files.golden_model("bert")
    with pytest.raises(FormatError, match=message):
        load_peft(model, folder)
    assert not hasattr(model, "adapters")


def test_a_base_where_no_prefix_can_be_put(tmp_path):
    config = {
        "num_virtual_tokens": 2, "token_dim": 32, "num_layers": 2, "num_attention_heads": 4,
        "num_transformer_submodules": 1,
    }  # fmt: skip
    tensors = {"prompt_embeddings": torch.ones(2, 128)}
    folder = peft_files.write(tmp_path / "a", tensors, **{"peft_type": "PREFIX_TUNING", **config})
    model = FAMILIES["bloom"].build()
    with pytest.raises(FormatError, match="adapter_config.json: site '0.attention': keys and"):
        load_peft(model, folder)
    assert not hasattr(model, "adapters")
