"""Building the learned weights of a combination."""

import pytest
import torch

import inlay
from inlay import Fuse, Route
from inlay.errors import CompositionError, SiteError
from inlay.sites.sitemap import Site, SiteMap
from tests.contracts import tiny


def test_a_combination_is_wherever_a_child_acts():
    model = tiny.classifier().to(torch.bfloat16)
    adapters = inlay.attach(model)
    adapters.add("a", "lora", at="q", layers=[0])
    adapters.add("b", "bottleneck", at="ffn", layers=[2])
    entry = adapters.add_combiner(Fuse("a", "b"))
    assert list(entry.combiners) == ["0.attention.q", "2.ffn"]
    assert entry.layers == {}
    assert set(entry.own_heads) == {"classifier"}
    assert {p.dtype for c in entry.combiners.values() for p in c.parameters()} == {torch.float32}
    assert entry.num_adapter_parameters == 2 * (3 * 24 * 24 + 24)
    assert sorted(entry.tensors())[0] == "combiner/0.attention.q/key.weight"


def test_each_kind_learns_by_its_own_method():
    adapters = inlay.attach(tiny.encoder())
    adapters.add("a", "lora")
    adapters.add("b", "lora")
    with pytest.raises(CompositionError, match=r"cannot learn by Gate\(.*Route Gate"):
        adapters.add_combiner(Fuse("a", "b"), inlay.Gate())
    with pytest.raises(CompositionError, match=r"cannot learn by Fusion\("):
        adapters.add_combiner(Route("a", "b"), inlay.Fusion())
    assert adapters.names == ("a", "b")
    assert adapters.add_combiner(Route("a", "b")).method == inlay.Gate()


def test_a_map_that_names_no_module():
    site = Site(name="0.ffn", kind="ffn", module="nowhere", width=24, block=0)
    adapters = inlay.attach(tiny.encoder(), sites=SiteMap((site,)))
    with pytest.raises(SiteError, match="site '0.ffn': this model has no module 'nowhere'"):
        adapters.add("a", inlay.Bottleneck(input="x"), at="ffn")
