"""Learned combinations are saved and loaded like adapters, over the very same adapters."""

import json

import pytest
import torch

import inlay
from inlay import Fuse, Route
from inlay.errors import AdapterError, FormatError
from tests.contracts import tiny

CASES = {
    "fuse": (Fuse("a", "b c"), inlay.Fusion(temperature=2.0)),
    "route": (Route("a", "b c", name="my gate"), inlay.Gate(top_k=1)),
}


@pytest.fixture(params=CASES)
def saved(request, tmp_path):
    node, method = CASES[request.param]
    model = tiny.classifier()
    inlay.attach(model)
    for seed, name in enumerate(("a", "b c")):
        tiny.stir(model.adapters.add(name, "lora", at="q, o"), seed=seed)
        inlay.save(model, name, tmp_path / name)
    tiny.stir(model.adapters.add_combiner(node, method))
    inlay.save(model, node.key, tmp_path / "both", card={"task": "x"})
    return model, node, tmp_path


def fresh(folder, names=("a", "b c")):
    model = tiny.classifier()
    for name in names:
        inlay.load(model, folder / name)
    return model


def test_there_and_back(saved):
    model, node, folder = saved
    other = fresh(folder)
    assert inlay.load(other, folder / "both") == node.key
    model.adapters.use(node)
    other.adapters.use(node)
    assert torch.equal(tiny.hidden(other, tiny.batch()), tiny.hidden(model, tiny.batch()))
    assert inlay.load(other, folder / "both", name="again") == "again"
    other.adapters.use(type(node)(*node.children, name="again"))
    assert torch.equal(tiny.hidden(other, tiny.batch()), tiny.hidden(model, tiny.batch()))


def test_the_manifest_says_what_it_is_over(saved):
    _, node, folder = saved
    manifest = json.loads((folder / "both" / "adapter.json").read_text())
    assert manifest["method"]["method"] in ("fusion", "gate")
    assert manifest["combines"]["composition"] == str(node)
    assert list(manifest["combines"]["adapters"]) == ["a", "b c"]
    plain = json.loads((folder / "a" / "adapter.json").read_text())
    assert "combines" not in plain, "older libraries read adapters still"


def test_its_adapters_must_be_there_and_the_same(saved):
    _, _, folder = saved
    with pytest.raises(AdapterError, match="combine 'a', 'b c'; load 'b c' first"):
        inlay.load(fresh(folder, ["a"]), folder / "both")
    other = fresh(folder)
    tiny.stir(other.adapters.entry("a"))
    with pytest.raises(FormatError, match="learned over another 'a' than the one on this model"):
        inlay.load(other, folder / "both")
    assert other.adapters.names == ("a", "b c")


@pytest.mark.parametrize(
    ("text", "message"),
    [("fuse(a", "the composition is damaged"), ("stack(a, b)", "is no fuse")],
)
def test_a_damaged_composition(saved, text, message):
    _, _, folder = saved
    path = folder / "both" / "adapter.json"
    manifest = json.loads(path.read_text())
    manifest["combines"]["composition"] = text
    path.write_text(json.dumps(manifest))
    with pytest.raises(FormatError, match=message):
        inlay.load(fresh(folder), folder / "both")


def test_an_inner_combination_counts_as_well(tmp_path):
    model = tiny.encoder()
    inlay.attach(model)
    for seed, name in enumerate("abc"):
        tiny.stir(model.adapters.add(name, "lora", at="q"), seed=seed)
        inlay.save(model, name, tmp_path / name)
    inner = Fuse("a", "b")
    outer = Route(inner, "c", name="outer")
    tiny.stir(model.adapters.add_combiner(inner))
    tiny.stir(model.adapters.add_combiner(outer))
    inlay.save(model, inner.key, tmp_path / "inner")
    inlay.save(model, "outer", tmp_path / "outer")
    other = tiny.encoder()
    for name in "abc":
        inlay.load(other, tmp_path / name)
    with pytest.raises(AdapterError, match=r"load 'fuse\(a, b\)' first"):
        inlay.load(other, tmp_path / "outer")
    inlay.load(other, tmp_path / "inner")
    inlay.load(other, tmp_path / "outer")
    for each in (model, other):
        each.adapters.use("outer")
    assert torch.equal(tiny.hidden(other, tiny.batch()), tiny.hidden(model, tiny.batch()))
