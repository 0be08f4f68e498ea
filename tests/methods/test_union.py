"""Several methods in one adapter."""

import dataclasses
import json

import pytest
import torch

import inlay
from inlay.errors import AdapterError, ConfigError, SiteError
from inlay.methods.parse import method_from_settings, parse_method
from inlay.methods.presets import PRESETS
from inlay.methods.union import Part, Union
from inlay.sites.sitemap import SiteMap
from tests.contracts import tiny

LORA, BOTTLENECK = inlay.LoRA(rank=2), inlay.Bottleneck(inner_width=3)
TWO = Union(parts=(Part(method=LORA, at="q, v"), Part(method=BOTTLENECK, at="ffn")))


def test_it_is_its_parts():
    """One adapter gives what a stack of its parts gives, and has their weights."""
    model, apart = tiny.encoder(), tiny.encoder()
    whole = inlay.attach(model).add("a", TWO)
    tiny.stir(whole)
    inlay.attach(apart)
    for part in TWO.parts:
        entry = apart.adapters.add(part.method.name, part.method, at=part.at)
        own, wanted = entry.tensors(), whole.tensors()
        with torch.no_grad():
            for key, tensor in own.items():
                tensor.copy_(wanted.pop(key))
    inputs = tiny.batch()
    with model.adapters.using("a"), apart.adapters.using(inlay.Stack("lora", "bottleneck")):
        assert torch.equal(tiny.hidden(model, inputs), tiny.hidden(apart, inputs))
    assert whole.num_adapter_parameters == sum(
        apart.adapters.entry(name).num_adapter_parameters for name in ("lora", "bottleneck")
    )
    assert list(whole.layers) == [
        site.name for site in model.adapters.sites if site.kind in ("q", "v", "ffn")
    ]


def test_plain_data_and_text():
    data = json.loads(json.dumps(TWO.settings()))
    assert data["parts"][0] == {**LORA.settings(), "at": "q, v"}
    assert method_from_settings(data) == TWO
    found = parse_method("lora[rank=2] | pfeiffer[reduction=8]")
    assert [(p.method, p.at) for p in found.method.parts] == [
        (LORA, "linear"), (inlay.Bottleneck(reduction=8), "ffn"),
    ]  # fmt: skip
    assert found.at == "linear, ffn"


def test_presets_have_the_papers_parts():
    mam, unipelt = PRESETS["mam"].method, PRESETS["unipelt"].method
    assert [(p.method.name, p.at) for p in mam.parts] == [
        ("prefix", "attention"), ("bottleneck", "ffn"),
    ]  # fmt: skip
    assert [(p.method.name, p.at, bool(p.method.gate)) for p in unipelt.parts] == [
        ("prefix", "attention", True), ("bottleneck", "ffn", True), ("lora", "q, v", True),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["mam", "unipelt"])
def test_parameters_by_the_papers_formulas(name):
    model = tiny.encoder()
    entry = inlay.attach(model).add("a", name)
    w, blocks = 24, 3
    prefix = {"mam": (30, 800), "unipelt": (10, 512)}[name]
    length, inner = prefix
    expected = length * w + (w + 1) * inner + (inner + 1) * blocks * 2 * w
    d = {"mam": w // 2, "unipelt": round(w / 16)}[name]
    expected += blocks * (2 * w * d + d + w)
    if name == "unipelt":
        expected += blocks * 2 * 8 * (w + w)  # LoRA at q and v
        expected += blocks * 4 * (w + 1)  # a gate for each of prefix, bottleneck, q and v
    assert entry.num_adapter_parameters == expected
    small = "[prefix.inner_width=4]"
    inlay.fold(model, "a")
    assert len(entry.method.parts) == len(PRESETS[name].method.parts)
    assert model.adapters.add("b", name + small, layers="upper").num_adapter_parameters < expected


def test_folding_changes_nothing_but_the_size():
    model, inputs = tiny.encoder(), tiny.batch()
    entry = inlay.attach(model).add("a", "unipelt[prefix.inner_width=5]")
    tiny.stir(entry)
    model.adapters.use("a")
    before, size = tiny.hidden(model, inputs), entry.num_adapter_parameters
    inlay.fold(model, "a")
    torch.testing.assert_close(tiny.hidden(model, inputs), before)
    assert entry.num_adapter_parameters != size
    assert entry.method.parts[0].method == inlay.Prefix(length=10, inner_width=None, gate=True)
    with pytest.raises(AdapterError, match="nothing to fold"):
        inlay.fold(model, "a")


def test_settings_of_parts():
    changed = parse_method("unipelt[lora.rank=4, lora.at=qkv, prefix.length=3]").method
    assert changed.parts[2] == Part(method=inlay.LoRA(rank=4, alpha=8.0, gate=True), at="qkv")
    assert changed.parts[0].method.length == 3
    for text, message in {
        "unipelt[rank=4]": "'rank' is no setting of a union; write PART.SETTING",
        "unipelt[loar.rank=4]": "Did you mean 'lora'",
        "unipelt[lora.ranc=4]": "lora has no setting 'ranc'.*Did you mean 'rank'",
        "unipelt[lora.rank=0]": "rank must be at least 1",
        "lora | full": "'full' trains weights of the base and cannot be joined",
        "lora | mam": "is no part",
        "union": "give two parts or more",
    }.items():
        with pytest.raises(ConfigError, match=message):
            parse_method(text)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "give two parts or more"),
        ((Part(method=LORA, at="q"), inlay.Full()), "Full.. is no part"),
        ((Part(method=LORA, at="q"), Part(method=TWO, at="ffn")), "is no part"),
        ((Part(method=LORA, at=" , "), Part(method=BOTTLENECK, at="ffn")), "is at no site"),
    ],
)
def test_parts_that_are_none(parts, message):
    with pytest.raises(ConfigError, match=message):
        Union(parts=parts)


@pytest.mark.parametrize(
    "data",
    [
        {"parts": [3, 4]},
        {"parts": [{"method": "lora"}]},
        {"parts": [{"method": "full", "at": ""}] * 2},
    ],
)
def test_damaged_plain_data(data):
    with pytest.raises(ConfigError, match="union: "):
        method_from_settings({"method": "union", **data})


def test_places_that_do_not_fit():
    adapters = inlay.attach(tiny.encoder())
    with pytest.raises(ConfigError, match="several parts would act at '0.ffn'.*use a Stack"):
        adapters.add("a", Union(parts=(Part(method=BOTTLENECK, at="attention, ffn"),
                                       Part(method=BOTTLENECK, at="ffn"))))  # fmt: skip
    with pytest.raises(ConfigError, match="no part is for '0.attention.k'.*Leave out at"):
        adapters.add("a", TWO, at="q, k, v, ffn")
    with pytest.raises(ConfigError, match="the part bottleneck at 'ffn' has no site among"):
        adapters.add("a", TWO, at="q, v")
    with pytest.raises(SiteError, match="LoRA cannot act at '0.ffn'"):
        adapters.add("a", Union(parts=(Part(method=LORA, at="ffn"),
                                       Part(method=BOTTLENECK, at="attention"))))  # fmt: skip
    assert adapters.names == ()


def test_kinds_within_a_sublayer():
    part = Part(method=LORA, at="attention.q, linear, 3.ffn")
    assert part.is_for("0.attention.q", "q", "attention")
    assert part.is_for("decoder.0.ffn.up", "up", "ffn")
    assert part.is_for("3.ffn", "ffn", "ffn")
    assert not part.is_for("13.ffn", "ffn", "ffn")
    assert not part.is_for("pooler", "other", "")


def test_a_map_made_by_hand_may_have_any_names():
    """The parts are where a placement finds them: by kind and sublayer, not by how a name ends."""
    found = inlay.probe(tiny.encoder())
    named = (dataclasses.replace(site, name=f"place {i}") for i, site in enumerate(found))
    model = tiny.encoder()
    adapters = inlay.attach(model, sites=SiteMap(tuple(named)))
    both = Union(parts=(Part(method=LORA, at="attention.q"), Part(method=BOTTLENECK, at="ffn")))
    entry = adapters.add("a", both, layers="upper")
    kinds = [adapters.sites[name].kind for name in entry.layers]
    assert kinds == ["q", "ffn"] * 2


def test_merging():
    model, inputs = tiny.encoder(), tiny.batch()
    both = Union(parts=(Part(method=LORA, at="q"), Part(method=inlay.IA3(), at="down")))
    tiny.stir(inlay.attach(model).add("a", both))
    model.adapters.add("b", TWO)
    with pytest.raises(AdapterError, match="of method 'union', which cannot be merged"):
        model.adapters.merge("b")
    model.adapters.use("a")
    before = tiny.hidden(model, inputs)
    model.adapters.merge("a")
    torch.testing.assert_close(tiny.hidden(model, inputs), before, atol=1e-5, rtol=1e-4)
