import json

import pytest
from safetensors.torch import load_file, save_file

import inlay
from inlay.errors import FormatError
from inlay.exchange.peft_verify import check_same
from inlay.exchange.peft_writing import save_peft
from tests.contracts import tiny


@pytest.fixture
def written(tmp_path):
    model = tiny.classifier()
    tiny.stir(inlay.attach(model).add("a", "lora[rank=3]", at="q, down"))
    save_peft(model, "a", tmp_path / "a")
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
