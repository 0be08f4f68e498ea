"""Methods from text and from plain data."""

import pytest

from inlay.errors import ConfigError
from inlay.methods.base import AbstractMethod
from inlay.methods.bottleneck import Bottleneck
from inlay.methods.comparators import Full, Top
from inlay.methods.lora import LoRA
from inlay.methods.parse import METHODS, method_from_settings, parse_method
from inlay.methods.presets import PRESETS
from inlay.methods.union import Union


@pytest.mark.parametrize(
    ("text", "method", "at"),
    [
        ("lora", LoRA(), "linear"),
        (" lora[rank=4, alpha=8] ", LoRA(rank=4, alpha=8), "linear"),
        ("lora[dropout=1e-1]", LoRA(dropout=0.1), "linear"),
        ("bottleneck[norm_before=True,input=x+r]", Bottleneck(norm_before=True, input="x+r"),
         "attention, ffn"),
        ('bottleneck[reduction={"0": 2, "default": 8}]',
         Bottleneck(reduction={"0": 2, "default": 8}), "attention, ffn"),
        ("top:2", Top(blocks=2), ""),
        ("top[blocks=3]", Top(blocks=3), ""),
        ("full", Full(), ""),
        ("pfeiffer[reduction=2]", Bottleneck(reduction=2), "ffn"),
    ],
)  # fmt: skip
def test_text(text, method, at):
    parsed = parse_method(text)
    assert (parsed.method, parsed.at) == (method, at)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lroa", "no method 'lroa'; there are bottleneck, .*conv, .* Did you mean 'lora'"),
        ("", "no method ''"),
        ("lora[rank=4", r"no method"),
        ("lora[rank]", "'rank' is not of the form setting=value"),
        ("lora[rank=x]", "lora: "),
        ("lora:3", r"only top takes a number; write lora\[setting=value\]"),
        ("lora[r=3]", "lora has no setting 'r'; it has rank, alpha, dropout"),
        ("pfeiffer[rank=3]", "bottleneck has no setting 'rank'"),
    ],
)
def test_text_that_is_wrong(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_method(text)


def test_every_preset_can_be_asked_for():
    for name, preset in PRESETS.items():
        assert parse_method(name) == preset
        assert isinstance(preset.method, AbstractMethod)


def test_plain_data_goes_both_ways():
    for cls in METHODS.values():
        if cls is not Union:  # it has no default
            assert method_from_settings(cls().settings()) == cls()
    with pytest.raises(ConfigError, match="no method None"):
        method_from_settings({"rank": 3})
