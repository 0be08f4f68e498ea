"""What an adapter consists of."""

import pytest
import torch

import inlay
from inlay.adapters.entry import build_layers, reads_stream
from inlay.errors import SiteError
from inlay.sites.sitemap import Site, SiteMap
from tests.contracts import tiny


def test_tensor_names_do_not_hold_the_adapters_name():
    model = tiny.classifier()
    inlay.attach(model)
    entry = model.adapters.add(
        "x.y/z", inlay.Bottleneck(reduction=3), at="1.ffn", head=torch.nn.Linear(2, 2)
    )
    assert sorted(entry.tensors()) == [
        "head/bias", "head/weight", "own_head/classifier/bias", "own_head/classifier/weight",
        "site/1.ffn/down.0.bias", "site/1.ffn/down.0.weight", "site/1.ffn/up.bias",
        "site/1.ffn/up.weight",
    ]  # fmt: skip
    assert entry.num_adapter_parameters == 2 * 24 * 8 + 24 + 8
    assert entry.num_head_parameters == 2 * 2 + 2 + 24 * 3 + 3
    assert entry.layer_at("0.ffn") is None


def test_a_site_without_a_stream():
    site = Site(name="0.ffn", kind="ffn", module="m", width=8, block=0)
    sites, model = SiteMap((site,)), torch.nn.Module()
    assert build_layers(inlay.Bottleneck(input="x"), (site,), sites, model)
    with pytest.raises(SiteError, match=r"Bottleneck reads 'r', which '0.ffn' does not offer"):
        build_layers(inlay.Bottleneck(input="r"), (site,), sites, model)


def test_which_inputs_need_the_stream():
    site = Site(name="0.ffn", kind="ffn", module="m", width=8, block=0, stream_module="n")
    model = torch.nn.Module()
    needs = {
        name: reads_stream(
            build_layers(inlay.Bottleneck(input=name), (site,), SiteMap((site,)), model)["0.ffn"]
        )
        for name in ("x", "r", "x+r", "norm(x+r)")
    }
    assert needs == {"x": False, "r": True, "x+r": True, "norm(x+r)": True}
