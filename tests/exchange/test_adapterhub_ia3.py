"""IA3 of AdapterHub multiplies what maps give, fused ones in part."""

import pytest
import torch

import inlay
from inlay.errors import FormatError
from inlay.exchange.adapterhub import load_adapterhub, read_adapterhub
from tests.contracts import tiny
from tests.exchange import hub
from tests.exchange.test_adapterhub_lora import CONFIG as LORA

CONFIG = LORA | {
    "r": 1, "alpha": 1, "attn_matrices": ["k", "v"], "composition_mode": "scale",
    "init_weights": "ia3", "intermediate_lora": True,
}  # fmt: skip
OWNERS = {
    **{f"encoder.layer.{i}.attention.self.{w}": 24 for i in range(3) for w in ("key", "value")},
    **{f"encoder.layer.{i}.intermediate.dense": 40 for i in range(3)},
}


def made(folder, options=None):
    tensors = {f"{o}.loras.a.lora_B": torch.rand(w, 1) + 0.5 for o, w in OWNERS.items()}
    return hub.write(folder, CONFIG | (options or {}), tensors), tensors


def test_equals_changed_weights(tmp_path):
    folder, tensors = made(tmp_path)
    changed, inputs = tiny.encoder(), tiny.batch()
    for key, factors in tensors.items():
        module = changed.get_submodule(key.removesuffix(".loras.a.lora_B"))
        module.weight.data *= factors
        module.bias.data *= factors[:, 0]
    model = tiny.encoder()
    inlay.attach(model)
    loaded = read_adapterhub(model, folder)
    with model.adapters.using(loaded.composition):
        torch.testing.assert_close(
            tiny.hidden(model, inputs), tiny.hidden(changed, inputs), atol=1e-5, rtol=1e-5
        )
    assert "before the activation" in loaded.card["notes"][0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"r": 2}, "option r=2"),
        ({"alpha": 3}, "option alpha=3"),
        ({"dropout": 0.1}, "option dropout=0.1"),
        ({"output_lora": True}, "but the tensors are at"),
    ],
)
def test_what_is_no_ia3_is_refused(tmp_path, options, reason):
    folder, _ = made(tmp_path, options)
    model = tiny.encoder()
    inlay.attach(model)
    with pytest.raises(FormatError, match=reason):
        load_adapterhub(model, folder)
    assert model.adapters.names == ()
