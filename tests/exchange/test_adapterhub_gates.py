"""Gates of AdapterHub's: what is read is what the peer computes, padding included."""

import torch

import inlay
from inlay.exchange.adapterhub import read_adapterhub
from tests.contracts import tiny
from tests.exchange import hub


def test_a_gated_bottleneck(tmp_path):
    model, inputs = tiny.encoder(), tiny.batch()
    inlay.attach(model)
    tensors = {}
    for block in range(3):
        owner = f"encoder.layer.{block}.output"
        tensors |= hub.bottleneck(owner, seed=block)
        tensors[f"{owner}.adapters.a.gate.weight"] = torch.randn(1, 24)
        tensors[f"{owner}.adapters.a.gate.bias"] = torch.randn(1)
    options = {"use_gating": True, "original_ln_before": False}
    hub.write(tmp_path, hub.DEFAULTS | options, tensors)
    loaded = read_adapterhub(model, tmp_path)
    assert "padding and later ones too" in loaded.card["notes"][0]
    entry = model.adapters.entry(loaded.composition)
    seen = {}
    layer = entry.layers["1.ffn"]
    layer.register_forward_hook(lambda m, args, out: seen.update(x=args[0], y=args[1], out=out))
    with model.adapters.using(loaded.composition):
        tiny.hidden(model, inputs)
    t = {key.split("layer.1.output.adapters.a.")[-1]: value for key, value in tensors.items()}
    x = seen["x"]
    up = torch.nn.functional.silu(x @ t["adapter_down.0.weight"].T + t["adapter_down.0.bias"])
    up = up @ t["adapter_up.weight"].T + t["adapter_up.bias"]
    gate = torch.sigmoid(x @ t["gate.weight"].T + t["gate.bias"]).mean(dim=1).unsqueeze(-1)
    torch.testing.assert_close(seen["out"], seen["y"] + up * gate, atol=1e-5, rtol=1e-5)
