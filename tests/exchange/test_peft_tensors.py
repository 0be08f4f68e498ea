import pickle
import zipfile

import pytest
import torch

from inlay.errors import FormatError
from inlay.exchange.peft_tensors import read_tensors


def test_a_pickle_of_tensors(tmp_path):
    torch.save({"a": torch.arange(3.0)}, tmp_path / "adapter_model.bin")
    assert torch.equal(read_tensors(tmp_path)["a"], torch.arange(3.0))


class Evil:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('was-run').touch()",)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_with_code_is_not_run(tmp_path, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "adapter_model.bin"
    torch.save({"a": Evil()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(FormatError, match="holds more than tensors, or is damaged: nothing in it"):
        read_tensors(tmp_path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(FormatError, match="nothing in it was run|is damaged"):
        read_tensors(tmp_path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04nothing"])
def test_a_damaged_pickle(tmp_path, content):
    (tmp_path / "adapter_model.bin").write_bytes(content)
    with pytest.raises(FormatError, match="damaged"):
        read_tensors(tmp_path)


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "adapter_model.bin", "w") as archive:
        archive.writestr("notes.txt", "no tensors")
    with pytest.raises(FormatError, match="damaged"):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "holds no table of tensors but list"),
        ({"a": 3}, "'a' is no tensor"),
        ({3: torch.ones(1)}, "3 is no tensor"),
        ({"a": torch.ones(2, dtype=torch.int64)}, "'a' is of type torch.int64; expected floats"),
        ({"a": torch.ones(2, 2).to_sparse()}, "'a' is of type"),
    ],
)
def test_what_is_no_table_of_numbers(tmp_path, content, message):
    torch.save(content, tmp_path / "adapter_model.bin")
    with pytest.raises(FormatError, match=message):
        read_tensors(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00notjson!", b"x" * 40])
def test_a_damaged_safetensors_file(tmp_path, content):
    (tmp_path / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(FormatError, match="is damaged or no safetensors file"):
        read_tensors(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(FormatError, match="neither adapter_model.safetensors nor adapter_model"):
        read_tensors(tmp_path)
