"""Saving writes a folder whole or not at all."""

import json

import pytest

import inlay
from inlay.errors import AdapterError, FormatError
from tests.contracts import tiny


@pytest.fixture
def model():
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("a", inlay.LoRA(rank=2, alpha=3), at="q, v", layers=[0, 2])
    return model


def test_the_manifest_says_what_it_is(model, tmp_path):
    inlay.save(model, "a", tmp_path / "a", card={"labels": ["x", "y"]})
    manifest = json.loads((tmp_path / "a" / "adapter.json").read_text())
    assert manifest["method"] == inlay.LoRA(rank=2, alpha=3).settings()
    assert (manifest["method"]["method"], manifest["method"]["rank"]) == ("lora", 2)
    assert manifest["placement"] == {
        "at": "q, v", "layers": "0, 2", "submodel": "",
        "sites": ["0.attention.q", "0.attention.v", "2.attention.q", "2.attention.v"],
    }  # fmt: skip
    assert manifest["card"] == {"labels": ["x", "y"]}
    assert manifest["tensors"]["site/0.attention.q/a"] == [2, 24]
    assert len(manifest["base"]["fingerprint"]) == 32


def test_an_adapter_is_replaced_but_nothing_else(model, tmp_path):
    inlay.save(model, "a", tmp_path / "a")
    inlay.save(model, "a", tmp_path / "a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(FormatError, match="is not empty and holds no saved adapter"):
        inlay.save(model, "a", tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "years of work"


def test_an_unknown_name(model, tmp_path):
    with pytest.raises(AdapterError, match="no adapter 'b' on this model; it has 'a'"):
        inlay.save(model, "b", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_failed_write_leaves_the_old_files(model, tmp_path, monkeypatch):
    inlay.save(model, "a", tmp_path / "a", card={"version": 1})
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        inlay.save(model, "a", tmp_path / "a", card={"version": 2})
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_saving_while_weights_are_exchanged_names_the_base(model, tmp_path):
    """The fingerprint is that of the base, not of the weights a comparator has put in."""
    tiny.stir(model.adapters.add("full", "full"))
    inlay.save(model, "a", tmp_path / "before")
    model.adapters.use("full")
    inlay.save(model, "full", tmp_path / "full")
    marks = [
        json.loads((tmp_path / name / "adapter.json").read_text())["base"]["fingerprint"]
        for name in ("before", "full")
    ]
    assert marks[0] == marks[1]
    assert inlay.load(tiny.encoder(), tmp_path / "full") == "full"
