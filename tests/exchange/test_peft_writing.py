"""What is written gives our outputs, read by ourselves and by PEFT itself."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file

import inlay
from inlay.errors import AdapterError, FormatError
from inlay.exchange.peft_writing import save_peft, task_type
from inlay.methods.parse import METHODS
from inlay.sites.example import example_inputs
from tests.contracts import tiny
from tests.contracts.families import FAMILIES
from tests.exchange import peft_files


def adapted(model, method="lora[rank=3,alpha=5]", **where):
    tiny.stir(inlay.attach(model).add("a", method, **where))
    model.adapters.use("a")
    return model


def config_of(folder):
    return json.loads((folder / "adapter_config.json").read_text())


def in_peft(model, folder, inputs):
    """Run the folder in PEFT, on the base that is left after our adapters are gone.

    Warnings are errors here, so PEFT finds every key that it looks for.
    """
    peft = pytest.importorskip("peft")
    inlay.detach(model)
    with torch.no_grad():
        return peft.PeftModel.from_pretrained(model, folder).eval()(**inputs)[0]


CASES = {
    "encoder": tiny.encoder,
    "classifier": tiny.classifier,
    "gpt2": lambda: tiny.decoder("gpt2"),
    "llama": tiny.decoder,
    **{name: FAMILIES[name].build for name in ("t5", "vit", "whisper", "distilbert", "albert")},
}


@pytest.mark.parametrize("case", CASES)
def test_a_lora_comes_back_to_itself(case, tmp_path):
    model = adapted(CASES[case](), layers="upper" if case != "albert" else "all")
    if case == "classifier":
        tiny.stir(model.adapters.entry("a").own_heads["classifier"])
    save_peft(model, "a", tmp_path / "b")
    assert inlay.load(model, tmp_path / "b") == "b"
    ours, again = (model.adapters.entry(name).tensors() for name in "ab")
    assert ours.keys() == again.keys()
    assert all(torch.equal(tensor, again[key]) for key, tensor in ours.items())
    assert model.adapters.entry("b").method == inlay.LoRA(rank=3, alpha=5.0)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("case", CASES)
def test_peft_gives_our_outputs(case, tmp_path):
    model = adapted(CASES[case]())
    if case == "classifier":
        tiny.stir(model.adapters.entry("a").own_heads["classifier"])
    inputs = example_inputs(model)
    save_peft(model, "a", tmp_path)
    with torch.no_grad():
        ours = model(**inputs)[0]
        model.adapters.use(None)
        assert (model(**inputs)[0] - ours).abs().max() > 1e-3
    torch.testing.assert_close(in_peft(model, tmp_path, inputs), ours, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["lora", "rslora"])
@pytest.mark.parametrize("family", peft_files.FAMILIES)
def test_golden_files_round_the_circle(family, name, tmp_path):
    model = peft_files.golden_model(family)
    inlay.load(model, peft_files.GOLDEN / family / name)
    save_peft(model, name, tmp_path / "again")
    first = load_file(peft_files.GOLDEN / family / name / "adapter_model.safetensors")
    second = load_file(tmp_path / "again" / "adapter_model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


def test_methods_that_peft_does_not_have(tmp_path):
    model = adapted(tiny.encoder(), "bottleneck")
    with pytest.raises(FormatError, match="of method 'bottleneck', which has no form in PEFT"):
        save_peft(model, "a", tmp_path / "x")
    model.adapters.add("b", "bottleneck")
    fuse = inlay.Fuse("a", "b")
    model.adapters.add_combiner(fuse)
    with pytest.raises(FormatError, match="is a learned combination, which has no form in PEFT"):
        save_peft(model, fuse.key, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert "bottleneck" in METHODS


def test_two_heads_of_which_one_ends_like_the_other(tmp_path):
    config = FAMILIES["distilbert"].config
    model = tiny.perturbed(transformers.DistilBertForSequenceClassification(config))
    adapted(model)
    for head in model.adapters.entry("a").own_heads.values():
        tiny.stir(head)
    save_peft(model, "a", tmp_path / "b")
    assert config_of(tmp_path / "b")["modules_to_save"] == ["pre_classifier", "classifier"]
    model.adapters.use(inlay.load(model, tmp_path / "b"))
    heads = [model.adapters.entry(name).own_heads for name in "ab"]
    assert torch.equal(heads[0]["pre_classifier"].weight, heads[1]["pre_classifier"].weight)


def test_a_head_beside_the_model(tmp_path):
    model = tiny.encoder()
    inlay.attach(model).add("a", "lora", head=torch.nn.Linear(24, 2))
    with pytest.raises(FormatError, match="for which PEFT has no place. Leave it out: without"):
        save_peft(model, "a", tmp_path / "x")
    save_peft(model, "a", tmp_path / "x", without_head=True)


def test_other_folders_are_kept(tmp_path):
    model = adapted(tiny.encoder())
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FormatError, match="is not empty and holds no PEFT adapter"):
        save_peft(model, "a", tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    save_peft(model, "a", tmp_path / "x")
    save_peft(model, "a", tmp_path / "x")
    with pytest.raises(AdapterError, match="no adapter 'b'"):
        save_peft(model, "b", tmp_path / "x")


def test_the_task_is_named_by_the_class():
    assert task_type(tiny.decoder(), has_head=False) == "CAUSAL_LM"
    assert task_type(tiny.encoder(), has_head=False) == "FEATURE_EXTRACTION"
    assert task_type(FAMILIES["whisper"].build(), has_head=False) is None
    assert task_type(tiny.classifier(), has_head=True) == "SEQ_CLS"
    assert task_type(tiny.classifier(), has_head=False) is None
    assert task_type(torch.nn.Linear(2, 2), has_head=True) is None


def test_an_adapter_above_another_has_no_form_in_peft(tmp_path):
    model = adapted(tiny.encoder())
    model.adapters.add("top", "lora", stack_on="a")
    with pytest.raises(FormatError, match="'top' is stacked on 'a', and PEFT's files have"):
        save_peft(model, "top", tmp_path / "top")


@pytest.mark.parametrize(
    ("method", "at", "message"),
    [
        (inlay.LoRA(gate=True), "q", "has a gate, for which PEFT has no place"),
        (inlay.Prefix(inner_width=None, takes_positions=True, gate="token"), "attention", "a gate"),
    ],
)
def test_what_is_not_written(tmp_path, method, at, message):
    model = tiny.encoder()
    inlay.attach(model).add("a", method, at=at)
    with pytest.raises(FormatError, match=message):
        save_peft(model, "a", tmp_path / "x")
    assert not (tmp_path / "x").exists()
