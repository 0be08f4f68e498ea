"""Hostile and broken files of both libraries: refused by name, and nothing is left on the model."""

import json
import os
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

import inlay
from inlay.errors import FormatError
from tests.contracts import tiny
from tests.exchange import hub, peft_files

QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"
PEFT, HUB = "adapter_model", "adapter"
DOWN = "bert.encoder.layer.1.output.adapters.a.adapter_down.0.weight"


class Evil:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def tensors(change):
    """Change the tensors of a safetensors file."""

    def damage(folder):
        (path,) = folder.glob("*.safetensors")
        found = load_file(path)
        change(found)
        save_file(found, path)

    return damage


def config(**values):
    def damage(folder):
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return damage


def setting(**values):
    """Change AdapterHub's settings, which are one level further down."""

    def damage(folder):
        path = folder / "adapter_config.json"
        whole = json.loads(path.read_text())
        whole["config"] |= values
        path.write_text(json.dumps(whole))

    return damage


def pickled(folder):
    (path,) = folder.glob("*.safetensors")
    path.unlink()
    name = "adapter_model.bin" if path.stem == PEFT else "pytorch_adapter.bin"
    torch.save({"x": Evil()}, folder / name)


def truncated(folder):
    (path,) = folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-64])


def huge_header(folder):
    (path,) = folder.glob("*.safetensors")
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")


def outside(folder):
    """Let the header say that a tensor lies behind the end of the file."""
    (path,) = folder.glob("*.safetensors")
    header = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 2**40]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))


def deep(folder):
    (folder / "adapter_config.json").write_text("[" * 100_000)


ALIKE = {
    "code in a pickle": (pickled, "holds more than tensors|not only tensors"),
    "truncated": (truncated, "is damaged or no safetensors file"),
    "huge header": (huge_header, "is damaged or no safetensors file"),
    "a tensor outside of the file": (outside, "is damaged or no safetensors file"),
    "a config without end": (deep, "is damaged|is no JSON"),
}
OF_PEFT = ALIKE | {
    "a weight of the base": (
        tensors(lambda t: t.update({f"{QUERY}.base_layer.weight": torch.ones(24, 24)})),
        "would overwrite a weight of the base",
    ),
    "a norm of the base": (
        tensors(lambda t: t.update({
            "base_model.model.bert.embeddings.LayerNorm.weight": torch.full((24,), 7.0)
        })),
        "embeddings.LayerNorm.weight' would overwrite a weight of the base",
    ),
    "a missing tensor": (
        tensors(lambda t: t.pop(f"{QUERY}.lora_B.weight")), "query.lora_B.weight' is missing"
    ),
    "an extra tensor": (
        tensors(lambda t: t.update({"x.y": torch.ones(1)})), "tensor 'x.y' has no place"
    ),
    "a wrong shape": (
        tensors(lambda t: t.update({f"{QUERY}.lora_A.weight": torch.ones(2, 25)})),
        "query.lora_A.weight' is 2 x 25, but here it must be 2 x 24",
    ),
    "no number": (
        tensors(lambda t: t[f"{QUERY}.lora_A.weight"].fill_(float("nan"))),
        "query.lora_A.weight' has entries that are no finite numbers",
    ),
    "whole numbers": (
        tensors(lambda t: t.update({f"{QUERY}.lora_A.weight": torch.ones(2, 24).long()})),
        "is of type torch.int64; expected floats",
    ),
    "an unknown option": (config(wobble=3), "wobble=3: .* or is not known"),
    "another method": (config(peft_type="IA3"), "lora_alpha=.* has an effect|has no place"),
    "no method": (config(peft_type="RCE"), "peft_type='RCE': Inlay does not have this method"),
    "no word for a method": (config(peft_type=["LORA"]), "there is no peft_type|peft_type"),
    "a path as a target": (
        config(target_modules=["../../etc/passwd"]), "has no place: the configuration does not"
    ),
    "a path as a saved module": (
        config(modules_to_save=["/etc/passwd"]), "'/etc/passwd' was saved, but this model has no"
    ),
    "code from the Hub": (
        config(auto_mapping={"base_model_class": "system", "parent_library": "os"}), None
    ),
    "a base elsewhere": (config(base_model_name_or_path="../../secret"), None),
}  # fmt: skip
"""Damage -> what does it, and the message; `None` if it changes nothing, as nothing follows it."""

OF_HUB = ALIKE | {
    "a weight of the base": (
        tensors(lambda t: t.update({"bert.encoder.layer.1.output.dense.bias": torch.ones(24)})),
        "output.dense.bias'",
    ),
    "a missing tensor": (tensors(lambda t: t.pop(DOWN)), "adapter_down.0.weight' is missing"),
    "an extra tensor": (tensors(lambda t: t.update({"x.y": torch.ones(1)})), "'x.y'"),
    "a wrong shape": (
        tensors(lambda t: t.update({DOWN: torch.ones(5, 25)})), "adapter_down.0.weight' is 5 x 25"
    ),
    "no number": (
        tensors(lambda t: t[DOWN].fill_(float("inf"))),
        "adapter_down.0.weight' has entries that are no finite numbers",
    ),
    "whole numbers": (
        tensors(lambda t: t.update({DOWN: torch.ones(5, 24).long()})),
        "is of type torch.int64; expected floats",
    ),
    "an unknown option": (setting(wobble=3), "unknown option 'wobble'"),
    "another method": (setting(architecture="rce"), "architecture 'rce' is not supported"),
    "a path as a name": (config(name="../../a"), "adapters.a|no tensors|has no place|is missing"),
    "a path as an activation": (setting(non_linearity="../../x"), "non_linearity='../../x'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """One sound file of each library for the same tiny base."""
    folder = tmp_path_factory.mktemp("sound")
    model = tiny.classifier()
    found = peft_files.factors(model, [QUERY.removeprefix("base_model.model.")], 2)
    peft_files.write_lora(folder / "peft", found, r=2, lora_alpha=3)
    own = {
        key: value
        for block in range(3)
        for key, value in hub.bottleneck(f"bert.encoder.layer.{block}.output").items()
    }
    hub.write(folder / "hub", hub.DEFAULTS, own)
    return folder


CASES = [("peft", case, *OF_PEFT[case]) for case in OF_PEFT]
CASES += [("hub", case, *OF_HUB[case]) for case in OF_HUB]


@pytest.mark.parametrize(
    ("library", "damage", "message"),
    [(library, damage, message) for library, _, damage, message in CASES],
    ids=[f"{library}: {case}" for library, case, _, _ in CASES],
)
def test_refused_by_name_and_without_a_trace(
    sound, tmp_path, monkeypatch, library, damage, message
):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(sound / library, tmp_path / "a")
    damage(folder)
    model = tiny.classifier()
    before, keys = tiny.hidden(model, tiny.batch()), list(model.state_dict())
    if message is None:
        inlay.load(model, folder)
        inlay.detach(model)
    else:
        with pytest.raises(FormatError, match=message):
            inlay.load(model, folder)
    assert not hasattr(model, "adapters")
    assert list(model.state_dict()) == keys
    assert torch.equal(tiny.hidden(model, tiny.batch()), before)
    assert [path.name for path in tmp_path.iterdir()] == ["a"], "nothing was run or written"


@pytest.mark.parametrize("library", ["peft", "hub"])
def test_a_base_of_another_size(sound, library):
    model = peft_files.golden_model("bert")
    with pytest.raises(FormatError, match="24|has no block|a module that"):
        inlay.load(model, sound / library)
    assert not hasattr(model, "adapters")


@pytest.mark.parametrize("library", ["peft", "hub"])
def test_the_sound_files_are_read(sound, library):
    model = tiny.classifier()
    inlay.load(model, sound / library)
    assert len(model.adapters.names) == 1
