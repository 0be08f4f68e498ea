"""PEFT's checkpoints give PEFT's outputs; what does not fit is refused and leaves no trace."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import inlay
from inlay.errors import AdapterError, FormatError
from inlay.exchange.peft_reading import load_peft
from tests.contracts import tiny
from tests.exchange import peft_files

READ = ("lora", "lora_all_linear", "lora_rank_pattern", "rslora", "dora", "ia3")


@pytest.mark.parametrize("family", peft_files.FAMILIES)
@pytest.mark.parametrize("name", READ)
def test_golden_outputs(family, name):
    model = peft_files.golden_model(family)
    assert load_peft(model, peft_files.GOLDEN / family / name) == name
    assert model.adapters.active is None
    model.adapters.use(name)
    outputs = peft_files.golden(family, "outputs")
    found = tiny.hidden(model, peft_files.golden(family, "inputs"))
    assert (outputs[name] - outputs["base"]).abs().max() > 1e-3
    torch.testing.assert_close(found, outputs[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", peft_files.FAMILIES)
def test_golden_rows(family):
    model = peft_files.golden_model(family)
    for name in ("a", "b"):
        load_peft(model, peft_files.GOLDEN / family / "mixed" / name)
    model.adapters.use(inlay.Rows("a", "b", None, "a"))
    found = tiny.hidden(model, peft_files.golden(family, "inputs"))
    outputs = peft_files.golden(family, "outputs")
    torch.testing.assert_close(found, outputs["mixed_rows"], rtol=0, atol=1e-4)


def test_a_bare_base_reads_what_a_task_class_saved_and_the_other_way_round(tmp_path):
    model, bare = tiny.classifier(), tiny.encoder()
    bare.load_state_dict(model.bert.state_dict())
    found = peft_files.factors(bare, ["encoder.layer.1.output.dense"], 3)
    of_bare = peft_files.write_lora(tmp_path / "bare", found, r=3, lora_alpha=5)
    load_peft(model, of_bare)
    of_task = {f"bert.{path}": pair for path, pair in found.items()}
    load_peft(bare, peft_files.write_lora(tmp_path / "task", of_task, r=3, lora_alpha=5))
    model.adapters.use("bare")
    bare.adapters.use("task")
    states = model.bert(**tiny.batch()).last_hidden_state
    peft_files.merged(tiny_twin := tiny.classifier(), of_task, 5 / 3)
    assert torch.equal(bare(**tiny.batch()).last_hidden_state, states)
    torch.testing.assert_close(
        tiny.hidden(model, tiny.batch()), tiny.hidden(tiny_twin, tiny.batch())
    )


def test_a_head_of_another_class_is_left_aside_only_if_asked(tmp_path):
    folder = peft_files.GOLDEN / "bert" / "lora"
    bare = peft_files.golden_model("bert").bert
    with pytest.raises(FormatError, match="has a head 'classifier', but BertModel has no head"):
        load_peft(bare, folder)
    assert not hasattr(bare, "adapters")
    load_peft(bare, folder, without_head=True)
    assert bare.adapters.entry("lora").own_heads == {}


def test_without_a_saved_head_the_base_answers(tmp_path):
    model = tiny.classifier()
    found = peft_files.factors(model, ["bert.encoder.layer.0.intermediate.dense"], 2)
    load_peft(model, peft_files.write_lora(tmp_path / "a", found, r=2, lora_alpha=2))
    assert model.adapters.entry("a").own_heads == {}


@pytest.fixture
def copied(tmp_path):
    """A golden checkpoint that may be damaged."""
    return shutil.copytree(peft_files.GOLDEN / "bert" / "lora", tmp_path / "broken")


def change_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def change_config(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refuses(folder, message, error=FormatError):
    """Check that nothing of a bad file stays, on a fresh model and on one with adapters."""
    model = peft_files.golden_model("bert")
    inputs = peft_files.golden("bert", "inputs")
    before, keys = tiny.hidden(model, inputs), list(model.state_dict())
    with pytest.raises(error, match=message):
        load_peft(model, folder)
    assert not hasattr(model, "adapters")
    assert list(model.state_dict()) == keys
    inlay.attach(model).add("other", "lora")
    with pytest.raises(error, match=message):
        load_peft(model, folder)
    assert model.adapters.names == ("other",)
    assert torch.equal(tiny.hidden(model, inputs), before)


QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


def test_a_missing_factor(copied):
    change_tensors(copied, lambda t: t.pop(f"{QUERY}.lora_B.weight"))
    refuses(copied, "query.lora_B.weight' is missing; the file is incomplete")


def test_a_missing_module(copied):
    change_tensors(copied, lambda t: [t.pop(f"{QUERY}.lora_{x}.weight") for x in "AB"])
    refuses(copied, "target_modules names 'bert.encoder.layer.0.attention.self.query', but tensor")


def test_a_missing_tensor_of_a_head(copied):
    change_tensors(copied, lambda t: t.pop("base_model.model.classifier.bias"))
    refuses(copied, "no tensor of the file gives 'own_head/classifier/bias'")


def test_a_missing_head(copied):
    drop = ("weight", "bias")
    change_tensors(copied, lambda t: [t.pop(f"base_model.model.classifier.{x}") for x in drop])
    refuses(copied, "'classifier' was saved, but the file has no tensor of it")


def test_a_head_of_another_size(copied):
    change_tensors(copied, lambda t: t.update({"base_model.model.classifier.bias": torch.ones(5)}))
    refuses(copied, "'base_model.model.classifier.bias' is 5, but this model needs 3")


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.bert.encoder.layer.0.output.LayerNorm.weight",
        "base_model.model.bert.encoder.layer.0.attention.self.query.base_layer.weight",
        "base_model.bert.pooler.dense.bias",
    ],
)
def test_a_tensor_that_would_overwrite_the_base(copied, key):
    change_tensors(copied, lambda t: t.update({key: torch.full((32,), 7.0)}))
    refuses(copied, f"{key}' would overwrite a weight of the base")


def test_a_part_of_the_base_beside_the_method(copied):
    change_config(copied, modules_to_save=["classifier", "pooler"])
    key = "base_model.model.bert.pooler.dense.bias"
    change_tensors(copied, lambda t: t.update({key: torch.ones(32)}))
    refuses(
        copied, "no tensor of the file gives 'bert.pooler.dense.weight'; the file is incomplete"
    )
    weight = torch.randn(32, 32)
    change_tensors(copied, lambda t: t.update({key.replace("bias", "weight"): weight}))
    model, twin = peft_files.golden_model("bert"), peft_files.golden_model("bert")
    load_peft(twin, peft_files.GOLDEN / "bert" / "lora")
    twin.adapters.use("lora")
    twin.bert.pooler.dense.weight.data, twin.bert.pooler.dense.bias.data = weight, torch.ones(32)
    inputs = peft_files.golden("bert", "inputs")
    before = tiny.hidden(model, inputs)
    load_peft(model, copied)
    model.adapters.use("broken")
    torch.testing.assert_close(tiny.hidden(model, inputs), tiny.hidden(twin, inputs))
    model.adapters.use(None)
    assert torch.equal(tiny.hidden(model, inputs), before), "the base's own pooler is as it was"


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.bert.encoder.layer.0.attention.self.key.lora_A.weight",
        "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.other.weight",
        "nonsense",
    ],
)
def test_a_tensor_too_many(copied, key):
    change_tensors(copied, lambda t: t.update({key: torch.ones(4, 32)}))
    refuses(copied, f"{key}' has no place|{key}' is for|lora_B.weight' is missing")


def test_both_factors_of_a_module_that_is_no_target(copied):
    key = QUERY.replace("query", "key")
    new = {f"{key}.lora_A.weight": torch.ones(4, 32), f"{key}.lora_B.weight": torch.ones(32, 4)}
    change_tensors(copied, lambda t: t.update(new))
    refuses(copied, "key.lora_A.weight' has no place: the configuration does not cover it")


def test_a_module_that_this_model_does_not_have(tmp_path):
    model = tiny.classifier()
    found = {"bert.encoder.layer.7.output.dense": (torch.ones(2, 24), torch.ones(24, 2))}
    with pytest.raises(FormatError, match="a module that BertForSequenceClassification does not"):
        load_peft(model, peft_files.write_lora(tmp_path / "a", found, r=2))


def test_a_method_that_is_not_there(copied):
    change_config(copied, peft_type="XLORA")
    refuses(copied, "peft_type='XLORA': Inlay does not have this method; it reads .*LORA")


def test_a_name_that_is_taken():
    model = peft_files.golden_model("bert")
    folder = peft_files.GOLDEN / "bert" / "lora"
    load_peft(model, folder, name="x.y")
    with pytest.raises(AdapterError, match="there is an adapter 'x.y' already"):
        load_peft(model, folder, name="x.y")
    assert model.adapters.names == ("x.y",)


def test_the_base_without_an_active_adapter_is_bitwise_the_same():
    model = peft_files.golden_model("bert")
    inputs = peft_files.golden("bert", "inputs")
    before = tiny.hidden(model, inputs)
    load_peft(model, peft_files.GOLDEN / "bert" / "lora")
    assert torch.equal(tiny.hidden(model, inputs), before)
    inlay.detach(model)
    assert torch.equal(tiny.hidden(model, inputs), before)
