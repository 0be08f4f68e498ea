import json

import pytest
import torch
from safetensors.torch import save_file

import inlay
from inlay.errors import AdapterError, FormatError
from inlay.exchange.reading import form_of
from tests.contracts import tiny
from tests.exchange import peft_files

LORA = peft_files.GOLDEN / "bert" / "lora"


def test_the_form_is_told_by_the_files(tmp_path):
    model = tiny.encoder()
    inlay.attach(model).add("a", "lora")
    inlay.save(model, "a", tmp_path / "own")
    assert form_of(tmp_path / "own") == "inlay"
    assert form_of(LORA) == "peft"
    hub = tmp_path / "hub"
    hub.mkdir()
    values = {"config": {"reduction_factor": 16}, "model_class": "BertModel", "name": "a"}
    (hub / "adapter_config.json").write_text(json.dumps(values))
    assert form_of(hub) == "adapterhub"


def test_one_load_for_all():
    model = peft_files.golden_model("bert")
    assert inlay.load(model, LORA) == "lora"
    assert inlay.load(model, LORA, name="again", without_head=True) == "again"


def test_options_of_our_own_files_only(tmp_path):
    model = peft_files.golden_model("bert")
    with pytest.raises(AdapterError, match="head=... is for adapters that `inlay.save` wrote"):
        inlay.load(model, LORA, head=model.classifier)
    with pytest.raises(AdapterError, match="other_base=True is for adapters"):
        inlay.load(model, LORA, other_base=True)


def test_other_folders(tmp_path):
    model = tiny.encoder()
    with pytest.raises(FormatError, match="is no saved adapter: it has no adapter.json"):
        inlay.load(model, tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text("{")
    with pytest.raises(FormatError, match="adapter_config.json is damaged"):
        inlay.load(model, tmp_path)
    path.write_text("{}")
    with pytest.raises(FormatError, match="is neither PEFT's .no peft_type. nor AdapterHub's"):
        inlay.load(model, tmp_path)


def test_adapters_one_folder_further_down():
    with pytest.raises(FormatError, match="holds no adapter itself, but folders that do: a, b"):
        inlay.load(peft_files.golden_model("bert"), peft_files.GOLDEN / "bert" / "mixed")


def test_an_adapter_of_adapterhub(tmp_path):
    model = tiny.encoder()
    values = {"architecture": "nonsense"}
    content = {"config": values, "model_class": "BertModel", "name": "a", "version": "adapters.1"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(content))
    save_file({"x": torch.ones(1)}, tmp_path / "adapter.safetensors")
    with pytest.raises(FormatError, match="tensor 'x' is no adapter's"):
        inlay.load(model, tmp_path)
    assert not hasattr(model, "adapters")
    with pytest.raises(FormatError, match="tensor 'x' is no adapter's"):
        inlay.load(model, tmp_path, without_head=True)
