"""LoRA of AdapterHub gives `W x + (alpha / r) B A x`, in maps of their own and fused ones."""

import pytest
import torch

import inlay
from inlay.errors import FormatError
from inlay.exchange.adapterhub import load_adapterhub, read_adapterhub
from tests.contracts import tiny
from tests.exchange import hub

CONFIG = {
    "architecture": "lora", "r": 3, "alpha": 5, "attn_matrices": ["q", "v"], "dropout": 0.0,
    "selfattn_lora": True, "intermediate_lora": False, "output_lora": False, "leave_out": [],
    "composition_mode": "add", "use_gating": False, "use_dora": False, "vera_d": None,
    "vera_b": None, "dtype": None, "init_weights": "lora",
}  # fmt: skip


def factors(owner, a, b):
    return {
        f"{owner}.loras.a.lora_A": torch.randn(*a) * 0.5,
        f"{owner}.loras.a.lora_B": torch.randn(*b) * 0.5,
    }


def made(folder, owners, options=None, **facts):
    tensors = {}
    for owner, (a, b) in owners.items():
        tensors |= factors(owner, a, b)
    return hub.write(folder, CONFIG | (options or {}), tensors, **facts), tensors


def attention(letters, rank=3):
    return {
        f"encoder.layer.{block}.attention.self.{word}": ((rank, 24), (24, rank))
        for block in range(3)
        for word in letters
    }


def changed(model, tensors, scale):
    """Add the updates to the maps' own weights."""
    for key, a in tensors.items():
        if key.endswith("lora_A"):
            owner = key.removesuffix(".loras.a.lora_A")
            b = tensors[f"{owner}.loras.a.lora_B"]
            model.get_submodule(owner).weight.data += scale * b @ a
    return model


def test_equals_changed_weights(tmp_path):
    owners = attention(["query", "value"])
    owners |= {f"encoder.layer.{i}.intermediate.dense": ((3, 24), (40, 3)) for i in range(3)}
    folder, tensors = made(tmp_path, owners, {"intermediate_lora": True})
    model, inputs = tiny.encoder(), tiny.batch()
    expected = tiny.hidden(changed(tiny.encoder(), tensors, 5 / 3), inputs)
    inlay.attach(model)
    with model.adapters.using(load_adapterhub(model, folder)):
        torch.testing.assert_close(tiny.hidden(model, inputs), expected, atol=1e-5, rtol=1e-5)


def test_a_map_of_three_in_one(tmp_path):
    owners = {f"transformer.h.{i}.attn.c_attn": ((6, 24), (48, 3)) for i in range(3)}
    folder, tensors = made(tmp_path, owners)
    model, inputs, plain = tiny.decoder("gpt2"), tiny.batch(), tiny.decoder("gpt2")
    for i in range(3):
        a = tensors[f"transformer.h.{i}.attn.c_attn.loras.a.lora_A"]
        b = tensors[f"transformer.h.{i}.attn.c_attn.loras.a.lora_B"]
        weight = plain.transformer.h[i].attn.c_attn.weight.data  # (in, out)
        weight[:, :24] += (5 / 3) * (b[:24] @ a[:3]).T
        weight[:, 48:] += (5 / 3) * (b[24:] @ a[3:]).T
    inlay.attach(model)
    loaded = read_adapterhub(model, folder)
    assert "one LoRA of rank 6 instead of 2 of rank 3" in loaded.card["notes"][0]
    with model.adapters.using(loaded.composition):
        torch.testing.assert_close(
            tiny.hidden(model, inputs), tiny.hidden(plain, inputs), atol=1e-5, rtol=1e-5
        )


def test_alpha_had_no_effect_in_old_versions(tmp_path):
    folder, tensors = made(tmp_path, attention(["query", "value"]), version="adapters.1.0.1")
    model, inputs = tiny.encoder(), tiny.batch()
    expected = tiny.hidden(changed(tiny.encoder(), tensors, 1.0), inputs)
    inlay.attach(model)
    loaded = read_adapterhub(model, folder)
    assert "alpha=5 had no effect" in loaded.card["notes"][0]
    with model.adapters.using(loaded.composition):
        torch.testing.assert_close(tiny.hidden(model, inputs), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("owners", "options", "message"),
    [
        (["query", "value"], {"use_gating": True}, "gate.weight' is missing"),
        (
            ["query", "value"],
            {"use_gating": True, "composition_mode": "scale"},
            "option use_gating is not supported for IA3",
        ),
        (["query", "value"], {"use_dora": True}, "loras.a.m.weight' is missing"),
        (
            ["query", "value"],
            {"vera_d": 0.1, "vera_b": 0.0},
            "'shared_parameters.a.lora_A' is miss",
        ),
        (
            ["query", "value"],
            {"vera_d": 0.1, "use_gating": True},
            "options vera_d and use_gating are not supported at once",
        ),
        (["query", "value"], {"composition_mode": "sing"}, "composition_mode='sing' cannot"),
        (["query", "value"], {"attn_matrices": ["x"]}, "option attn_matrices=.* cannot be used"),
        (["query"], {}, "no tensors for any map 'v'"),
        (["query", "value"], {"output_lora": True}, "a LoRA at q, v, down, but the tensors are"),
        (["query", "value"], {"r": 4}, "lora_A' is 3 x 24, but here it must be 4 x 24"),
        ([], {}, "no tensors of a LoRA"),
        (["query", "value"], {"color": 1}, "unknown option 'color'"),
    ],
)
def test_what_cannot_be_read(tmp_path, owners, options, message):
    folder, _ = made(tmp_path, attention(owners), options)
    model = tiny.encoder()
    inlay.attach(model)
    with pytest.raises(FormatError, match=message):
        load_adapterhub(model, folder)
    assert model.adapters.names == ()


def test_a_missing_block(tmp_path):
    owners = attention(["query", "value"])
    owners.pop("encoder.layer.1.attention.self.value")
    folder, _ = made(tmp_path, owners)
    model = tiny.encoder()
    inlay.attach(model)
    with pytest.raises(FormatError, match="there are no tensors for '1.attention.v'"):
        load_adapterhub(model, folder)
