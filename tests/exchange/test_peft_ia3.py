"""IA3 of PEFT against factors multiplied by hooks, and what is written for it."""

import json

import pytest
import torch

import inlay
from inlay.errors import FormatError
from inlay.exchange.peft_reading import load_peft
from inlay.exchange.peft_writing import save_peft
from tests.contracts import tiny
from tests.exchange import peft_files

PATHS = {
    "bert.encoder.layer.0.attention.self.key": False,
    "bert.encoder.layer.1.output.dense": True,
    "bert.encoder.layer.2.intermediate.dense": True,
    "bert.encoder.layer.0.output.dense": False,
}
"""Module -> whether its input is multiplied."""


def drawn(model):
    found = {}
    for number, (path, inner) in enumerate(PATHS.items()):
        out, wide = model.get_submodule(path).weight.shape
        generator = torch.Generator().manual_seed(number)
        shape = (1, wide) if inner else (out, 1)
        found[path] = torch.rand(shape, generator=generator) + 0.5
    return found


def written(folder, found, **options):
    tensors = {f"base_model.model.{path}.ia3_l": factors for path, factors in found.items()}
    inner = [path for path in found if PATHS[path]]
    options = {"target_modules": list(found), "feedforward_modules": inner, **options}
    return peft_files.write(folder, tensors, **{"peft_type": "IA3", **options})


def twin(found):
    model = tiny.classifier()
    for path, factors in found.items():
        module, flat = model.get_submodule(path), factors.flatten()
        if PATHS[path]:
            module.register_forward_pre_hook(lambda module, args, flat=flat: (args[0] * flat,))
        else:
            module.register_forward_hook(lambda module, args, output, flat=flat: output * flat)
    return model


def test_inputs_and_outputs_are_multiplied(tmp_path):
    model, inputs = tiny.classifier(), tiny.batch()
    found = drawn(model)
    load_peft(model, written(tmp_path / "a", found))
    model.adapters.use("a")
    expected = tiny.hidden(twin(found), inputs)
    torch.testing.assert_close(tiny.hidden(model, inputs), expected, atol=1e-5, rtol=1e-5)
    entry = model.adapters.entry("a")
    assert entry.method == inlay.IA3(inputs="1.ffn.down, 2.ffn.up")
    assert "on the input of 'up' maps" in entry.imported["notes"][0]
    save_peft(model, "a", tmp_path / "b", without_head=True)
    config = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert config["feedforward_modules"] == sorted(path for path in PATHS if PATHS[path])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feedforward_modules": ["output.dense"]}, "dense.ia3_l' is 24 x 1, but here it must be"),
        ({"feedforward_modules": None}, "dense.ia3_l' is 1 x 40, but here it must be 24 x 1"),
        ({"target_modules": ["key"]}, "has no place: the configuration does not cover it"),
        ({"target_modules": ["key", "value", "dense"]}, "target_modules names .* is missing"),
        ({"wobble": 1}, "wobble=1"),
    ],
)
def test_what_does_not_fit(tmp_path, options, message):
    model = tiny.classifier()
    folder = written(tmp_path / "a", drawn(model), **options)
    with pytest.raises(FormatError, match=message):
        load_peft(model, folder)
    assert not hasattr(model, "adapters")
