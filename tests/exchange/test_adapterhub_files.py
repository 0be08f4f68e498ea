"""Files are read without running what is in them, and every fault has its own message."""

import os
import pickle

import pytest
import torch

from inlay.errors import FormatError
from inlay.exchange.adapterhub_files import ADAPTER, has, read_checkpoint
from tests.exchange import hub

TENSORS = {"x.adapters.a.adapter_up.bias": torch.arange(3.0)}


@pytest.mark.parametrize("pickled", [True, False])
def test_reads_both_kinds_of_file(tmp_path, pickled):
    assert not has(tmp_path, ADAPTER)
    hub.write(tmp_path, {}, TENSORS, pickled=pickled)
    assert has(tmp_path, ADAPTER)
    found = read_checkpoint(tmp_path, ADAPTER)
    assert (found.name, found.version) == ("a", (1, 3, 0))
    assert torch.equal(found.tensors["x.adapters.a.adapter_up.bias"], torch.arange(3.0))


def test_names_of_the_first_versions(tmp_path):
    old = {"x.layer_text_task_adapters.a.w": torch.ones(1), "invertible_lang_adapters.a.v":
           torch.ones(2)}  # fmt: skip
    hub.write(tmp_path, {}, old, version="left out")
    found = read_checkpoint(tmp_path, ADAPTER)
    assert sorted(found.tensors) == ["invertible_adapters.a.v", "x.adapters.a.w"]
    assert found.version is None


class Evil:
    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_named_and_not_run(tmp_path):
    hub.write(tmp_path, {}, TENSORS, pickled=True)
    evil = Evil()
    evil.path = tmp_path / "was run"
    torch.save({"x": evil}, tmp_path / "pytorch_adapter.bin")
    with pytest.raises(FormatError, match=r"holds '\w+.mkdir', not only tensors"):
        read_checkpoint(tmp_path, ADAPTER)
    (tmp_path / "pytorch_adapter.bin").write_bytes(pickle.dumps(evil))
    with pytest.raises(FormatError, match="pytorch_adapter.bin"):
        read_checkpoint(tmp_path, ADAPTER)
    assert not evil.path.exists()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([torch.ones(2)], "holds a list, not tensors by name"),
        ({"x": 3}, "'x' is a int, not a tensor"),
        ({3: torch.ones(2)}, "3 is a Tensor, not a tensor|3 is no name"),
    ],
)
def test_what_is_no_dict_of_tensors(tmp_path, found, message):
    hub.write(tmp_path, {}, TENSORS, pickled=True)
    torch.save(found, tmp_path / "pytorch_adapter.bin")
    with pytest.raises(FormatError, match=message):
        read_checkpoint(tmp_path, ADAPTER)


@pytest.mark.parametrize("pickled", [True, False])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", None])
def test_damaged_weights(tmp_path, pickled, content):
    hub.write(tmp_path, {}, TENSORS, pickled=pickled)
    path = next(p for p in tmp_path.iterdir() if p.suffix != ".json")
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(FormatError, match=path.name):
        read_checkpoint(tmp_path, ADAPTER)


def test_missing_and_broken_configs(tmp_path):
    with pytest.raises(FormatError, match="it has no adapter_config.json"):
        read_checkpoint(tmp_path, ADAPTER)
    hub.write(tmp_path, {}, TENSORS, name="left out")
    with pytest.raises(FormatError, match="'name' is missing"):
        read_checkpoint(tmp_path, ADAPTER)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(FormatError, match="adapter_config.json is no JSON"):
        read_checkpoint(tmp_path, ADAPTER)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(FormatError, match="'config' is missing"):
        read_checkpoint(tmp_path, ADAPTER)
    hub.write(tmp_path, {}, TENSORS)
    (tmp_path / "adapter.safetensors").unlink()
    with pytest.raises(FormatError, match="but no weights; expected adapter.safetensors or"):
        read_checkpoint(tmp_path, ADAPTER)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is damaged"), ("{}", "is damaged"), ('{"interface": 3}', "is 3")]
)
def test_a_damaged_interface(tmp_path, text, message):
    checkpoint = read_checkpoint(hub.write(tmp_path, hub.DEFAULTS, {}), ADAPTER)
    assert checkpoint.interface is None
    (tmp_path / "adapter_interface.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        _ = checkpoint.interface
