"""What the settings of LoRA and IA3 say about places."""

import pytest

from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_linear import lora_places


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (["q", "v"], ["q", "v"])),
        ({"attn_matrices": ["v", "k"]}, (["k", "v"], ["k", "v"])),
        ({"selfattn_lora": False, "output_lora": True}, (["q", "v"], ["down"])),
        ({"intermediate_lora": True}, (["q", "v"], ["q", "v", "up"])),
    ],
)
def test_places(options, expected):
    assert lora_places(Config("here", options)) == expected


@pytest.mark.parametrize("wrong", ["q", ["x"]])
def test_unknown_matrices(wrong):
    with pytest.raises(FormatError, match="attn_matrices"):
        lora_places(Config("here", {"attn_matrices": wrong}))
