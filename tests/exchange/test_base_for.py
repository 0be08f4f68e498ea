import pytest
import torch
import transformers as hf

import inlay
from inlay.errors import BaseError, FormatError
from inlay.exchange.base_for import load_base_for, wanted_by
from tests.contracts import tiny
from tests.exchange import peft_files

BASE = str(peft_files.GOLDEN / "bert" / "base")


def test_what_a_peft_file_says():
    wanted = wanted_by(peft_files.GOLDEN / "bert" / "lora")
    assert (wanted.form, wanted.base) == ("peft", "peft/bert/base")
    assert wanted.model_class == "AutoModelForSequenceClassification"
    assert wanted.heads == {"classifier.weight": (3, 32), "classifier.bias": (3,)}
    assert wanted_by(peft_files.GOLDEN / "bert" / "lora", without_head=True).heads == {}


def test_a_class_without_a_task(tmp_path):
    mapping = {"base_model_class": "BertModel", "parent_library": "transformers"}
    folder = peft_files.write_lora(tmp_path / "a", {}, auto_mapping=mapping)
    assert wanted_by(folder).model_class == "BertModel"
    folder = peft_files.write_lora(tmp_path / "b", {})
    assert wanted_by(folder).model_class == "AutoModel"
    folder = peft_files.write_lora(tmp_path / "c", {}, auto_mapping=[3])
    assert wanted_by(folder).model_class == "AutoModel"


def test_what_our_own_file_says(tmp_path):
    model = tiny.classifier(5)
    model.config._name_or_path = "some/base"
    inlay.attach(model).add("a", "lora")
    inlay.save(model, "a", tmp_path / "a")
    wanted = wanted_by(tmp_path / "a")
    assert (wanted.form, wanted.base) == ("inlay", "some/base")
    assert wanted.model_class == "BertForSequenceClassification"
    assert wanted.heads == {"classifier.weight": (5, 24), "classifier.bias": (5,)}
    assert not wanted.has_task_head


def test_the_base_gets_a_head_of_the_saved_size(tmp_path):
    folder = peft_files.GOLDEN / "bert" / "lora"
    model = load_base_for(wanted_by(folder), BASE)
    assert isinstance(model, hf.BertForSequenceClassification)
    assert model.classifier.weight.shape == (3, 32)
    assert not model.training


def test_a_head_of_several_layers(tmp_path):
    torch.manual_seed(1)
    config = hf.RobertaConfig(**tiny.SMALL, num_labels=7)
    model = tiny.perturbed(hf.RobertaForSequenceClassification(config))
    model.save_pretrained(tmp_path / "base")
    inlay.attach(model).add("a", "lora")
    inlay.save(model, "a", tmp_path / "a")
    found = load_base_for(wanted_by(tmp_path / "a"), str(tmp_path / "base"))
    assert found.classifier.out_proj.weight.shape == (7, 24)


def test_a_head_that_the_class_cannot_have(tmp_path):
    extra = {"base_model.model.classifier.weight": torch.ones(3, 31)}
    folder = peft_files.write_lora(
        tmp_path / "a", {}, extra, modules_to_save=["classifier"], task_type="SEQ_CLS"
    )
    with pytest.raises(FormatError, match=r"has no head of the saved sizes \(classifier.weight"):
        load_base_for(wanted_by(folder), BASE)


def test_no_base_is_named(tmp_path):
    folder = peft_files.write_lora(tmp_path / "a", {})
    with pytest.raises(BaseError, match="does not say which base it is for; name it by --base"):
        load_base_for(wanted_by(folder), None)


def test_a_class_that_does_not_fit_the_base(tmp_path):
    folder = peft_files.write_lora(tmp_path / "a", {}, task_type="SEQ_2_SEQ_LM")
    with pytest.raises(BaseError, match="could not be loaded as AutoModelForSeq2SeqLM"):
        load_base_for(wanted_by(folder), BASE)
    strange = {"base_model_class": "os", "parent_library": "os"}
    folder = peft_files.write_lora(tmp_path / "b", {}, auto_mapping=strange)
    assert isinstance(load_base_for(wanted_by(folder), BASE), hf.BertModel)
