"""AdapterHub's fusion over loaded adapters gives its own formula."""

import pytest
import torch
from torch.nn import functional as F

import inlay
from inlay.errors import AdapterError, FormatError
from inlay.exchange.adapterhub import load_adapterhub
from inlay.exchange.adapterhub_fusion import load_adapterhub_fusion
from tests.contracts import tiny
from tests.exchange import hub

DYNAMIC = {
    "key": True, "query": True, "value": True, "query_before_ln": False, "regularization": True,
    "residual_before": False, "temperature": False, "value_before_softmax": True,
    "value_initialized": True, "dropout_prob": None,
}  # fmt: skip
OWNER = "encoder.layer.{}.output"


def fusion_tensors(blocks=3, *, value=True):
    tensors = {}
    for block in range(blocks):
        start = f"{OWNER.format(block)}.adapter_fusion_layer.a,b."
        for part in ("query", "key", *(["value"] if value else [])):
            tensors[f"{start}{part}.weight"] = torch.randn(24, 24) * 0.3
            if part != "value":
                tensors[f"{start}{part}.bias"] = torch.randn(24) * 0.3
    return tensors


def adapters(folder, options=None):
    """Write and return two adapters' tensors."""
    found = {}
    for seed, name in enumerate("ab"):
        tensors = {}
        for block in range(3):
            drawn = hub.bottleneck(OWNER.format(block), name=name, seed=9 * seed + block, inner=4)
            tensors |= drawn
        hub.write(folder / name, hub.DEFAULTS | (options or {}), tensors, name=name)
        found[name] = tensors
    return found


class PeerFusion(torch.nn.Module):
    """The peer's way through the end of a block of BERT with two adapters and their fusion."""

    def __init__(self, own, block, parts, fusion, config, options):
        super().__init__()
        self.own, self.parts, self.config = own, parts, config
        start = f"{OWNER.format(block)}.adapter_fusion_layer.a,b."
        self.fusion = {k.removeprefix(start): v for k, v in fusion.items() if k.startswith(start)}
        self.outputs = [
            hub.PeerOutput(own, _own(tensors, block, name), options)
            for name, tensors in parts.items()
        ]
        self.options = hub.DEFAULTS | options

    def forward(self, hidden_states, input_tensor):
        x = self.own.dense(hidden_states)
        h = self.own.LayerNorm(x + input_tensor) if self.options["original_ln_before"] else x
        if self.options["is_parallel"]:
            h = input_tensor
        f = self.fusion
        query = x if self.config["query_before_ln"] and not self.options["is_parallel"] else h
        query = F.linear(query, f["query.weight"], f["query.bias"])
        updates = torch.stack([peer.update(h, norm_after=False) for peer in self.outputs], dim=2)
        keys = F.linear(updates, f["key.weight"], f["key.bias"])
        values = F.linear(updates, f["value.weight"]) if self.config["value"] else updates
        weights = torch.einsum("bph,bpnh->bpn", query, keys).softmax(dim=-1)
        mixed = torch.einsum("bpn,bpnh->bph", weights, values)
        if self.options["is_parallel"]:
            mixed = mixed + input_tensor  # the peer has it as the adapters' residual too
        return self.own.LayerNorm(mixed + x + input_tensor)


def _own(tensors, block, name):
    start = f"{OWNER.format(block)}.adapters.{name}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


@pytest.mark.parametrize("options", [{}, {"original_ln_before": False}, {"is_parallel": True}])
@pytest.mark.parametrize("changes", [{}, {"value": False}, {"query_before_ln": True}])
def test_computes_what_the_peer_computes(tmp_path, options, changes):
    parts, config = adapters(tmp_path, options), DYNAMIC | changes
    fusion = fusion_tensors(value=config["value"])
    hub.write(tmp_path / "fusion", config, fusion, name="a,b", kind="fusion", adapter_names=["a",
              "b"])  # fmt: skip
    twin, inputs = tiny.encoder(), tiny.batch()
    for block, layer in enumerate(twin.encoder.layer):
        layer.output = PeerFusion(layer.output, block, parts, fusion, config, options)
    model = tiny.encoder()
    inlay.attach(model)
    for name in "ab":
        load_adapterhub(model, tmp_path / name)
    key = load_adapterhub_fusion(model, tmp_path / "fusion")
    with model.adapters.using(key):
        torch.testing.assert_close(
            tiny.hidden(model, inputs), tiny.hidden(twin, inputs), atol=1e-4, rtol=1e-4
        )
    assert key == "fuse(a, b)"


def test_adapters_of_other_names(tmp_path):
    adapters(tmp_path)
    hub.write(tmp_path / "fusion", DYNAMIC, fusion_tensors(), name="a,b", kind="fusion")
    model = tiny.encoder()
    inlay.attach(model)
    with pytest.raises(AdapterError, match="combine 'a', 'b'; load 'a' first"):
        load_adapterhub_fusion(model, tmp_path / "fusion")
    load_adapterhub(model, tmp_path / "a", "one")
    load_adapterhub(model, tmp_path / "b", "two")
    key = load_adapterhub_fusion(model, tmp_path / "fusion", {"a": "one", "b": "two"})
    assert key == "fuse(one, two)"


@pytest.mark.parametrize(
    ("config", "tensors", "options", "message"),
    [
        (DYNAMIC | {"temperature": True}, {}, {}, "option temperature=True cannot be used; False"),
        (DYNAMIC | {"colour": 1}, {}, {}, "unknown option 'colour'"),
        (3, {}, {}, "'config' is 3; expected settings"),
        (DYNAMIC, {}, {"ln_after": True}, "'a' has a norm behind it"),
        (DYNAMIC, fusion_tensors(2), {}, "'2.ffn' has only one of the two"),
        (
            DYNAMIC, {f"{OWNER.format(0)}.adapter_fusion_layer.a,b.query.weight": torch.ones(24,
             24)}, {}, "a,b.query.bias' is missing",
        ),
        (
            DYNAMIC, fusion_tensors() | {f"{OWNER.format(0)}.adapter_fusion_layer.a,b.odd":
             torch.ones(1)}, {}, "a,b.odd' has no place",
        ),
        ("wavy", {}, {}, "'config' is 'wavy'; expected settings"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path, config, tensors, options, message):
    for name in "ab":
        own = {}
        for block in range(3):
            own |= hub.bottleneck(OWNER.format(block), name=name, **options)
        hub.write(tmp_path / name, hub.DEFAULTS | options, own, name=name)
    hub.write(tmp_path / "fusion", config, tensors, name="a,b", kind="fusion")
    model = tiny.encoder()
    inlay.attach(model)
    for name in "ab":
        load_adapterhub(model, tmp_path / name)
    with pytest.raises(FormatError, match=message):
        load_adapterhub_fusion(model, tmp_path / "fusion")
    assert model.adapters.names == ("a", "b")


def test_adapters_that_read_something_else_are_not_fused(tmp_path):
    """The peer gives all of them what the last one reads."""
    for name, before in (("a", True), ("b", False)):
        own = {}
        for block in range(3):
            own |= hub.bottleneck(OWNER.format(block), name=name)
        hub.write(tmp_path / name, hub.DEFAULTS | {"original_ln_before": before}, own, name=name)
    hub.write(tmp_path / "fusion", DYNAMIC, fusion_tensors(), name="a,b", kind="fusion")
    model = tiny.encoder()
    inlay.attach(model)
    for name in "ab":
        load_adapterhub(model, tmp_path / name)
    with pytest.raises(
        FormatError, match="'a' reads 'norm\\(x\\+r\\)' and 'b' 'x'; AdapterHub gives"
    ):
        load_adapterhub_fusion(model, tmp_path / "fusion")


def test_only_bottlenecks_are_fused(tmp_path):
    model = tiny.encoder()
    inlay.attach(model)
    for name in "ab":
        model.adapters.add(name, "lora")
    hub.write(tmp_path, DYNAMIC, fusion_tensors(), name="a,b", kind="fusion")
    with pytest.raises(FormatError, match="'a' is of method 'lora'; .* over bottlenecks"):
        load_adapterhub_fusion(model, tmp_path)
    hub.write(tmp_path, DYNAMIC, fusion_tensors(), name="a,b", kind="fusion", adapter_names=3)
    with pytest.raises(FormatError, match="'adapter_names' is 3"):
        load_adapterhub_fusion(model, tmp_path)
