"""LayerNorm tuning in PEFT's files, against norms that are set by hand in the base itself."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import inlay
from inlay.adapters.copies import add_copies
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig
from inlay.exchange.peft_norms import read_norms, write_norms
from inlay.exchange.peft_reading import load_peft
from inlay.exchange.peft_writing import save_peft
from tests.contracts import tiny
from tests.exchange import peft_files

START = "base_model.model."
UPPER = [f"bert.encoder.layer.1.{x}output.LayerNorm" for x in ("attention.", "")]


def moved_norms(model):
    """Move the norms of a base; return them as a file has them."""
    tensors = {}
    for path, module in model.named_modules():
        if path.endswith("LayerNorm"):
            for name, parameter in module.named_parameters():
                parameter.data.add_(0.3)
                tensors[f"{START}{path}.ln_tuning_layers.{name}"] = parameter.data.clone()
    return tensors


def written(folder, tensors, **options):
    options = {"peft_type": "LN_TUNING", "target_modules": ["LayerNorm"], **options}
    return peft_files.write(folder, tensors, **options)


def test_all_norms(tmp_path):
    model, twin = tiny.classifier(), tiny.classifier()
    tensors = moved_norms(twin)
    load_peft(model, written(tmp_path / "a", tensors))
    assert model.adapters.entry("a").method == inlay.Norms()
    model.adapters.use("a")
    assert torch.equal(tiny.hidden(model, tiny.batch()), tiny.hidden(twin, tiny.batch()))
    save_peft(model, "a", tmp_path / "b", without_head=True)
    again = load_file(tmp_path / "b" / "adapter_model.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(tensor, again[key]) for key, tensor in tensors.items())


def test_some_norms_are_copies_without_a_method(tmp_path):
    model, twin = tiny.classifier(), tiny.classifier()
    tensors = {key: value for key, value in moved_norms(twin).items() if "layer.1" in key}
    load_peft(model, written(tmp_path / "a", tensors, target_modules=UPPER))
    entry = model.adapters.entry("a")
    assert entry.method == inlay.Head()
    assert entry.weights.keys() == {f"{path}.{x}" for path in UPPER for x in ("weight", "bias")}
    save_peft(model, "a", tmp_path / "b", without_head=True)
    config = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["target_modules"]) == ("LN_TUNING", UPPER)
    twin = tiny.classifier()
    for key, tensor in tensors.items():
        path = key.removeprefix(START).replace(".ln_tuning_layers.", ".")
        twin.get_parameter(path).data = tensor
    model.adapters.use(inlay.load(model, tmp_path / "b"))
    assert torch.equal(tiny.hidden(model, tiny.batch()), tiny.hidden(twin, tiny.batch()))


def test_a_module_that_is_no_norm():
    adapters = tiny.attach(tiny.classifier())
    dense = {
        f"{START}bert.pooler.dense.ln_tuning_layers.weight": torch.ones(24, 24),
        f"{START}bert.pooler.dense.ln_tuning_layers.bias": torch.ones(24),
    }
    config = PeftConfig(Path("a/adapter_config.json"), "LN_TUNING", {"target_modules": ["dense"]})
    with pytest.raises(FormatError, match="names the module of 'bert.encoder.layer.0.att.*dense"):
        read_norms(config, dense, adapters)
    config.values["target_modules"] = ["pooler.dense"]
    parts = read_norms(config, dense, adapters)
    assert (parts.method, parts.sites) == (inlay.Head(), [])
    assert list(parts.tensors) == [f"weight/bert.pooler.dense.{x}" for x in ("weight", "bias")]
    config.values["target_modules"] = None
    assert read_norms(config, dense, adapters) == parts


FIRST = f"{START}bert.embeddings.LayerNorm"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda t: t.pop(f"{FIRST}.ln_tuning_layers.bias"), {},
            "names the module of 'bert.embeddings.LayerNorm.bias', but no tensor of the file gives",
        ),
        (lambda t: t.clear(), {"target_modules": None}, "there is no tensor of a LN_TUNING in the"),
        (
            lambda t: t.update({f"{FIRST}.weight": torch.ones(24)}), {},
            "LayerNorm.weight' would overwrite a weight of the base",
        ),
        (
            lambda t: t.update({f"{FIRST}.ln_tuning_layers.scale": torch.ones(24)}), {},
            "LayerNorm.ln_tuning_layers.scale' has no place",
        ),
        (
            lambda t: t.update({FIRST.removeprefix(START) + ".ln_tuning_layers.bias":
                                torch.ones(24)}), {},
            "'bert.embeddings.LayerNorm.ln_tuning_layers.bias' has no place",
        ),
        (lambda t: None, {"target_modules": UPPER}, "LayerNorm.*' has no place: the configuration"),
        (
            lambda t: None, {"exclude_modules": ["embeddings.LayerNorm"]},
            "embeddings.LayerNorm.ln_tuning_layers.* has no place: the configuration",
        ),
        (
            lambda t: t.update({f"{START}bert.norm.ln_tuning_layers.weight": torch.ones(24)}), {},
            "bert.norm.*' is for a module that BertForSequenceClassification does not have",
        ),
        (
            lambda t: t.update({f"{FIRST}.ln_tuning_layers.bias": torch.ones(25)}), {},
            "LayerNorm.ln_tuning_layers.bias' is 25, but this model needs 24",
        ),
        (lambda t: None, {"r": 3}, "r=3: this has an effect that Inlay does not have"),
    ],
)  # fmt: skip
def test_what_does_not_fit(tmp_path, change, options, message):
    model = tiny.classifier()
    tensors = moved_norms(tiny.classifier())
    change(tensors)
    with pytest.raises(FormatError, match=message):
        load_peft(model, written(tmp_path / "a", tensors, **options))
    assert not hasattr(model, "adapters")


def test_a_module_in_part_is_not_written():
    adapters = tiny.attach(tiny.classifier())
    entry = adapters.add("a", "head", copy_heads=False)
    add_copies(adapters, entry, [f"{UPPER[0]}.weight"])
    message = rf"'a': PEFT copies whole modules, and of '{UPPER[0]}\.bias' there is no copy; save"
    with pytest.raises(FormatError, match=message):
        write_norms(adapters, entry, uniform=False)
