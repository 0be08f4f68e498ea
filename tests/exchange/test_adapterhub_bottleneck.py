"""Every switch of AdapterHub's bottleneck gives what its own code computes."""

import json

import pytest
import torch
import transformers as hf
from torch.nn import functional as F

import inlay
from inlay.errors import FormatError
from inlay.exchange.adapterhub import load_adapterhub, read_adapterhub
from tests.contracts import tiny
from tests.contracts.families import FAMILIES
from tests.exchange import hub

CASES = {
    "seq_bn": {},
    "double_seq_bn": {"mh_adapter": True, "original_ln_before": False},
    "par_bn": {"is_parallel": True, "original_ln_before": False, "scaling": 4.0},
    "own residual": {"residual_before_ln": False, "non_linearity": "leakyrelu"},
    "adapter+ on post-norm": {"residual_before_ln": "post_add", "scaling": "channel"},
    "adapter+ elsewhere": {
        "residual_before_ln": False, "original_ln_after": False, "scaling": "channel",
    },
    "own norms": {"ln_before": True, "ln_after": True, "mh_adapter": True},
    "scaled before its norm": {"ln_after": True, "scaling": 3.0},
    "learned scale before its norm": {"ln_after": True, "scaling": "learned"},
    "residual in the norm": {"ln_after": True, "adapter_residual_before_ln": True, "scaling": 2.0},
    "post_add in the norm": {
        "ln_after": True, "adapter_residual_before_ln": True, "residual_before_ln": "post_add",
    },
    "parallel with a norm": {"is_parallel": True, "ln_after": True, "scaling": "channel"},
}  # fmt: skip


def made(tmp_path, options, *, blocks=range(3), inner=5):
    tensors = {}
    for block in blocks:
        for key, owner in (("mh_adapter", "attention.output"), ("output_adapter", "output")):
            if (hub.DEFAULTS | options)[key]:
                path = f"encoder.layer.{block}.{owner}"
                size = inner if isinstance(inner, int) else inner[block]
                tensors |= hub.bottleneck(path, inner=size, seed=len(tensors), **options)
    return hub.write(tmp_path / "a", hub.DEFAULTS | options, tensors), tensors


@pytest.mark.parametrize("case", CASES)
def test_computes_what_the_peer_computes(tmp_path, case):
    folder, tensors = made(tmp_path, CASES[case])
    model, inputs = tiny.encoder(), tiny.batch()
    base, expected = (
        tiny.hidden(model, inputs),
        hub.peer_hidden(model, inputs, tensors, CASES[case]),
    )
    assert (expected - base).abs().max() > 0.1
    inlay.attach(model)
    with model.adapters.using(load_adapterhub(model, folder)):
        torch.testing.assert_close(tiny.hidden(model, inputs), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(tiny.hidden(model, inputs), base)


def test_widths_by_block_and_blocks_left_out(tmp_path):
    options = {"leave_out": [1], "reduction_factor": {"0": 3, "default": 6}}
    folder, tensors = made(tmp_path, options, blocks=(0, 2), inner={0: 8, 2: 4})
    model, inputs = tiny.encoder(), tiny.batch()
    expected = hub.peer_hidden(model, inputs, tensors, options)
    inlay.attach(model)
    name = load_adapterhub(model, folder)
    assert list(model.adapters.entry(name).layers) == ["0.ffn", "2.ffn"]
    with model.adapters.using(name):
        torch.testing.assert_close(tiny.hidden(model, inputs), expected, atol=1e-5, rtol=1e-5)


def test_sublayers_side_by_side(tmp_path):
    config = hf.GPTJConfig(
        n_embd=24, n_layer=3, n_head=4, rotary_dim=4, vocab_size=97, n_positions=40
    )
    model = tiny.perturbed(hf.GPTJModel(config))
    inlay.attach(model)
    tensors = {}
    for block in range(3):
        tensors |= hub.bottleneck(f"h.{block}.output_adapters", seed=block)
    hub.write(tmp_path, hub.DEFAULTS | {"is_parallel": True}, tensors)
    with pytest.raises(FormatError, match="at '0.ffn' reads the stream behind the attention"):
        load_adapterhub(model, tmp_path)
    hub.write(tmp_path / "double", hub.DEFAULTS | {"original_ln_before": False}, tensors)
    load_adapterhub(model, tmp_path / "double", "double")
    hub.write(tmp_path / "seq", hub.DEFAULTS, tensors)
    load_adapterhub(model, tmp_path / "seq", "seq")
    inputs, twin = tiny.batch(), tiny.perturbed(hf.GPTJModel(config))
    twin.load_state_dict({k: v for k, v in model.state_dict().items() if "adapters" not in k})
    for block, layer in enumerate(twin.h):
        layer.register_forward_hook(behind(f"h.{block}.output_adapters.adapters.a.", tensors))
    with model.adapters.using("seq"):
        torch.testing.assert_close(tiny.hidden(model, inputs), tiny.hidden(twin, inputs))


def behind(start, tensors):
    """Return a hook that is a bottleneck behind a block."""
    down, bias, up, shift = (
        tensors[f"{start}{part}"]
        for part in ("adapter_down.0.weight", "adapter_down.0.bias", "adapter_up.weight",
                     "adapter_up.bias")
    )  # fmt: skip

    def hook(module, args, output):
        x = output[0] if isinstance(output, tuple) else output
        x = x + F.linear(F.silu(F.linear(x, down, bias)), up, shift)
        return (x, *output[1:]) if isinstance(output, tuple) else x

    return hook


HOOKS = {
    "layer_pre_self_attn": "input_layernorm", "layer_pre_ffn": "post_attention_layernorm",
    "layer_ln_1": None, "layer_ln_2": None,
}  # fmt: skip
"""What an interface of AdapterHub says of a model such as Qwen3."""


def interface(folder, **changes):
    path = folder / "adapter_interface.json"
    path.write_text(json.dumps({"interface": HOOKS | changes}))


def test_hooked_into_a_model(tmp_path):
    """The base does its own sum, so that what the option says of the end of it has no effect."""
    model = tiny.decoder()
    inlay.attach(model)
    tensors = {}
    for block in range(3):
        tensors |= hub.bottleneck(f"model.layers.{block}.output_adapters", seed=block)
    found = {}
    for name, changes, options in (
        ("seq", {}, {}),
        ("no after", {}, {"original_ln_after": False}),
        ("plain", {}, {"original_ln_before": False}),
        ("no stream", {"layer_pre_ffn": None}, {}),
        ("parallel", {}, {"is_parallel": True}),
    ):
        hub.write(tmp_path / name, hub.DEFAULTS | options, tensors)
        interface(tmp_path / name, **changes)
        load_adapterhub(model, tmp_path / name, name)
        method = model.adapters.entry(name).method
        found[name] = (method.input, method.residual)
    assert found == {
        "seq": ("norm(x+r)", "x"), "no after": ("norm(x+r)", "x"), "plain": ("x", "x"),
        "no stream": ("x", "x"), "parallel": ("r", "x"),
    }  # fmt: skip
    for changes in ({"layer_ln_2": "post_attention_layernorm"}, {"layer_pre_ffn": "mlp"}):
        interface(tmp_path / "seq", **changes)
        with pytest.raises(FormatError, match="at '0.ffn' reads the input of .* not the stream"):
            load_adapterhub(model, tmp_path / "seq", "other")


def test_hooked_in_front_of_a_norm(tmp_path):
    model = tiny.perturbed(hf.AutoModel.from_config(FAMILIES["gemma3"].config))
    inlay.attach(model)
    tensors = {}
    for block in range(2):
        tensors |= hub.bottleneck(f"layers.{block}.output_adapters", width=32)
    hub.write(tmp_path, hub.DEFAULTS | {"original_ln_before": False}, tensors)
    interface(tmp_path)
    with pytest.raises(FormatError, match="at '0.ffn' was hooked in front of the base's norm"):
        load_adapterhub(model, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"original_ln_after": False}, "residual_before_ln=True lose the residual stream"),
        (
            {"original_ln_after": False, "residual_before_ln": False, "mh_adapter": True},
            "behind the norm of '0.attention'",
        ),
        (
            {"original_ln_before": False, "residual_before_ln": "post_add"},
            "make the peer itself fail",
        ),
        ({"is_parallel": True, "original_ln_after": False}, "leave out the base's own sum"),
        ({"use_gating": True}, "gate.weight' is missing"),
        ({"use_gating": True, "ln_after": True}, "put the gate in front of a norm"),
        ({"phm_layer": 1}, "option phm_layer=1 cannot be used; true or false"),
        ({"residual_before_ln": "sometimes"}, "option residual_before_ln='sometimes' cannot"),
        ({"scaling": "always"}, "option scaling='always' cannot be used; a number can"),
        ({"wobble": 3}, "unknown option 'wobble'"),
        ({"non_linearity": "wavy"}, "option non_linearity='wavy' cannot be used; relu, "),
        ({"leave_out": "all"}, "leave_out='all' is no list"),
    ],
)
def test_what_cannot_be_read(tmp_path, options, message):
    folder, _ = made(tmp_path, options)
    model = tiny.encoder()
    inlay.attach(model)
    with pytest.raises(FormatError, match=message):
        load_adapterhub(model, folder)
    assert model.adapters.names == ()


def test_one_weight_under_two_names_must_be_one(tmp_path):
    folder, tensors = made(tmp_path, {"ln_before": True})
    tensors["encoder.layer.1.output.adapters.a.adapter_down.0.bias"] += 1
    hub.write(folder, hub.DEFAULTS | {"ln_before": True}, tensors)
    model = tiny.encoder()
    inlay.attach(model)
    with pytest.raises(FormatError, match="are one weight, but differ"):
        load_adapterhub(model, folder)


def test_what_departs_is_noted(tmp_path):
    folder, _ = made(tmp_path, {"ln_after": True, "scaling": 3.0, "stochastic_depth": 0.1})
    model = tiny.encoder()
    inlay.attach(model)
    notes = " ".join(read_adapterhub(model, folder).card["notes"])
    for word in ("applied twice", "stochastic_depth=0.1", "scaling=3.0 is folded"):
        assert word in notes
