import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import inlay
from inlay.errors import FormatError
from inlay.exchange.peft_verify import check_same, check_vllm
from inlay.exchange.peft_writing import save_peft
from tests.contracts import tiny


@pytest.fixture
def written(tmp_path):
    model = tiny.classifier()
    tiny.stir(inlay.attach(model).add("a", "lora[rank=3]", at="q, down"))
    save_peft(model, "a", tmp_path / "a")
    save_peft(model, "a", tmp_path / "served", for_vllm=True, without_head=True)
    return model, tmp_path


def change_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def change_config(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


KEY = "base_model.model.bert.encoder.layer.1.output.dense.lora_B.weight"


def test_what_was_written_is_the_same(written):
    model, folder = written
    check_same(folder / "a", model.adapters, model.adapters.entry("a"), without_head=False)
    check_same(folder / "served", model.adapters, model.adapters.entry("a"), without_head=True)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (KEY, "for '1.ffn.down' is"),
        ("base_model.model.classifier.bias", "of the base or a head is"),
    ],
)
def test_other_numbers(written, key, place):
    model, folder = written
    change_tensors(folder / "a", lambda t: t[key].add_(0.01))
    with pytest.raises(FormatError, match=f"what was written {place} not the same"):
        check_same(folder / "a", model.adapters, model.adapters.entry("a"), without_head=False)


def test_another_scale(written):
    model, folder = written
    change_config(folder / "a", lora_alpha=17)
    with pytest.raises(FormatError, match="what was written for .* is not the same"):
        check_same(folder / "a", model.adapters, model.adapters.entry("a"), without_head=False)


def test_other_places(written):
    model, folder = written
    model.adapters.add("b", "lora[rank=3]", at="q")
    with pytest.raises(FormatError, match="has other places"):
        check_same(folder / "a", model.adapters, model.adapters.entry("b"), without_head=False)


def test_what_vllm_loads(written):
    check_vllm(written[1] / "served")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"r": None}, "r=None: vLLM needs it"),
        ({"target_modules": ".*q"}, "vLLM takes a list of modules"),
        ({"modules_to_save": ["classifier"]}, "modules_to_save=.*vLLM does not follow it"),
        ({"rank_pattern": {"q": 2}}, "rank_pattern=.*vLLM does not follow it"),
        ({"alpha_pattern": {"q": 2}}, "alpha_pattern=.*vLLM does not follow it"),
        ({"use_rslora": True}, "use_rslora=True: vLLM does not follow it"),
        ({"bias": "all"}, "bias='all': vLLM does not follow it"),
        ({"r": 2}, "has another rank than r says"),
    ],
)
def test_options_that_prevent_vllm(written, values, message):
    folder = written[1] / "served"
    change_config(folder, **values)
    with pytest.raises(FormatError, match=message):
        check_vllm(folder)


def test_tensors_that_prevent_vllm(written):
    folder = written[1] / "served"
    change_tensors(folder, lambda t: t.update({"base_model.model.score.weight": torch.ones(2)}))
    with pytest.raises(FormatError, match="'base_model.model.score.weight' is none that vLLM"):
        check_vllm(folder)


def test_a_factor_alone_prevents_vllm(written):
    folder = written[1] / "served"
    change_tensors(folder, lambda t: t.pop(KEY))
    with pytest.raises(FormatError, match="is there without its '.lora_B.weight'"):
        check_vllm(folder)
