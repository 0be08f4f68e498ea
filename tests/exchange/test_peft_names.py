from pathlib import Path

import pytest
import torch

import inlay
from inlay.errors import AdapterError, FormatError
from inlay.exchange.peft_names import Names, copy_into, ends_alike, map_sites
from inlay.methods.lora import LoRA
from tests.contracts import tiny

FOLDER = Path("a-folder")


def test_paths_of_the_same_class_are_taken_as_they_are():
    names = Names(FOLDER, tiny.classifier(), ["bert.encoder.layer.0"])
    assert names.module("k", "bert.encoder.layer.0.output.dense") in names.paths


def test_paths_of_another_class_differ_by_the_prefix():
    path = "encoder.layer.0.output.dense"
    assert Names(FOLDER, tiny.classifier(), [path]).module("k", path) == f"bert.{path}"
    assert Names(FOLDER, tiny.encoder(), [f"bert.{path}"]).module("k", f"bert.{path}") == path


def test_an_adapters_own_modules_are_none_of_the_base():
    model = tiny.encoder()
    inlay.attach(model).add("a", "lora")
    assert not any(path.startswith("adapters") for path in Names(FOLDER, model, []).paths)


def test_maps_are_found_by_path():
    adapters = inlay.attach(tiny.classifier())
    sites = map_sites(adapters, LoRA.kinds)
    site = sites["bert.encoder.layer.1.output.dense"]
    assert (site.name, site.kind) == ("1.ffn.down", "down")
    assert "bert.embeddings.LayerNorm" not in sites


def test_names_that_fit_no_others_although_a_dot_is_no_border():
    assert ends_alike(["a.b"], ["a.b", "a.c"]) == ["a.b"]
    assert ends_alike(["b.c"], ["b.c", "ab.c"]) == r"b\.c"


def test_copying_is_exact():
    own = {"site/0.q/a": torch.zeros(2)}
    copy_into(FOLDER, own, {"site/0.q/a": ("theirs", torch.ones(2))}, "x")
    assert torch.equal(own["site/0.q/a"], torch.ones(2))
    with pytest.raises(FormatError, match="no tensor of the file gives 'site/0.q/a' of 'x'"):
        copy_into(FOLDER, own, {}, "x")
    with pytest.raises(FormatError, match="'theirs' is 3, but this model needs 2"):
        copy_into(FOLDER, own, {"site/0.q/a": ("theirs", torch.ones(3))}, "x")
    both = {"site/0.q/a": ("theirs", torch.ones(2)), "site/0.q/b": ("more", torch.ones(2))}
    with pytest.raises(AdapterError, match="tensor 'more' has no place in adapter 'x'"):
        copy_into(FOLDER, own, both, "x")
