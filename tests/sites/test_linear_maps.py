"""Roles of linear maps, by behaviour first and by name second."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from inlay.sites.linear_maps import is_linear, linear_maps
from inlay.sites.listen import Event


def call(events, module, given, result):
    for point, tensor in (("in", given), ("out", result)):
        events.append(Event(len(events), point, module, tensor, tensor.clone()))
    return result


def roles(kind, sizes, *, gate=None):
    """Run maps of the given sizes one after the other and return their roles."""
    events, modules = [], {}
    x = {}
    for name, (wide, out) in sizes.items():
        modules[name] = nn.Linear(wide, out)
        x[name] = call(events, name, torch.randn(2, wide), torch.randn(2, out))
        if name == gate:
            modules["act"] = nn.SiLU()
            call(events, "act", x[name], torch.randn(2, out))
    return [found.role for found in linear_maps(kind, events, modules)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["query", "key", "value", "dense"], ["q", "k", "v", "o"]),
        (["q_proj", "k_proj", "v_proj", "o_proj"], ["q", "k", "v", "o"]),
        (["q_lin", "k_lin", "v_lin", "out_lin"], ["q", "k", "v", "o"]),
        (["linear_k", "linear_q", "linear_v", "linear_out"], ["k", "q", "v", "o"]),
        (["Wq", "Wk", "Wv", "Wo"], ["q", "k", "v", "o"]),
        (["a", "b", "c", "d"], ["q", "k", "v", "o"]),
        (["query_key_value", "dense"], ["qkv", "o"]),
        (["anything", "dense"], ["qkv", "o"]),
        (["q_proj", "rest", "out"], ["q", "kv", "o"]),
        (
            {"in_proj": (8, 24), "pos_proj": (8, 8), "pos_q_proj": (8, 8), "o": (8, 8)},
            ["qkv", "other", "other", "o"],
        ),
        (["query", "key", "value", "pos_key_proj", "dense"], ["q", "k", "v", "other", "o"]),
        (["only"], ["o"]),
        ([], []),
    ],
)
def test_attention(names, expected):
    sizes = names if isinstance(names, dict) else dict.fromkeys(names, (8, 8))
    assert roles("attention", sizes) == expected


def test_feed_forward():
    assert roles("ffn", {"a": (8, 20), "b": (20, 8)}) == ["up", "down"]
    assert roles("ffn", {"a": (8, 40), "b": (20, 8)}) == ["gate_up", "down"]
    three = {"a": (8, 20), "b": (8, 20), "c": (20, 8)}
    assert roles("ffn", three, gate="a") == ["gate", "up", "down"]
    assert roles("ffn", three, gate="b") == ["up", "gate", "down"]
    assert roles("ffn", {"router": (8, 2)}) == ["other"]


def test_other_mixers():
    assert roles("mixer", {"a": (8, 20), "b": (20, 5), "c": (20, 8)}) == ["up", "other", "down"]
    assert roles("mixer", {"a": (8, 8)}) == ["other"]


def test_what_a_linear_map_is():
    def events(module, x):
        y = module(x)
        return Event(0, "in", "m", x, x.clone()), Event(1, "out", "m", y, y.clone())

    x = torch.randn(3, 6)
    conv = Conv1D(6, 6)
    nn.init.normal_(conv.bias)
    assert is_linear(conv, *events(conv, x)), "the weight is (in, out) there"
    assert is_linear(nn.Linear(6, 6), *events(nn.Linear(6, 6), x))
    assert not is_linear(nn.LayerNorm(6), *events(nn.LayerNorm(6), x))

    class Squared(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 6))

        def forward(self, x):
            return (x @ self.weight) ** 2

    squared = Squared()
    assert not is_linear(squared, *events(squared, x))
