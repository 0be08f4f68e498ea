"""Configs of all ages become settings that are each taken once."""

import pytest

from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config, configs_of


def only(value, *, has_version=True):
    found = configs_of("file", value, has_version=has_version)
    assert len(found) == 1
    return found[0]


def test_settings_are_taken_once_and_none_is_left():
    config = Config("file", {"one": 1, "two": True, "three": "GELU"})
    assert (config.number("one"), config.take("two", default=False)) == (1, True)
    assert config.take("thre", 5) == 5
    with pytest.raises(FormatError, match="unknown option 'three'; .* Did you mean 'thre'"):
        config.done()
    assert config.activation("three") == "gelu"
    config.done()
    with pytest.raises(FormatError, match="option 'one' is missing"):
        config.take("one")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.number("word"), "option word='wavy' cannot be used; a number can"),
        (lambda c: c.number("flag"), "option flag=True cannot be used"),
        (lambda c: c.take("word", default=False), "option word='wavy' .* true or false can"),
        (lambda c: c.activation("word"), "option word='wavy' cannot be used; relu"),
        (lambda c: c.activation("flag"), "option flag=True .* name of an activation"),
    ],
)
def test_values_of_the_wrong_type(call, message):
    with pytest.raises(FormatError, match=message):
        call(Config("file", {"word": "wavy", "flag": True}))


@pytest.mark.parametrize(
    ("word", "ours"), [("gelu_python", "gelu"), ("LeakyReLU", "leaky_relu"), ("linear", "identity")]
)
def test_activations_by_our_names(word, ours):
    assert Config("file", {"non_linearity": word}).activation() == ours


def test_unions_and_inverses_are_taken_apart():
    union = {
        "architecture": "union",
        "configs": [
            {"architecture": "lora", "r": 3},
            {"non_linearity": "tanh", "inv_adapter": "nice", "inv_adapter_reduction_factor": 4},
        ],
    }
    lora, bottleneck, inverse = configs_of("file", union, has_version=True)
    assert [p[0] for p in (lora, bottleneck, inverse)] == ["lora", "bottleneck", "invertible"]
    assert lora[1].values == {"r": 3}
    assert bottleneck[1].values == {"non_linearity": "tanh"}
    assert inverse[1].values["inv_adapter_reduction_factor"] == 4
    with pytest.raises(FormatError, match="option 'configs' of a union is 3"):
        configs_of("file", {"architecture": "union", "configs": 3}, has_version=True)


def test_names_of_configs():
    assert only("pfeiffer")[1].values["original_ln_before"] is True
    assert only({"using": "houlsby"})[1].values["mh_adapter"] is True
    assert [part for part, _ in configs_of("file", "seq_bn+inv", has_version=True)] == [
        "bottleneck",
        "invertible",
    ]
    with pytest.raises(FormatError, match="no config is called 'pfeifer'; .* Did you mean 'pfeif"):
        only("pfeifer")
    with pytest.raises(FormatError, match="'config' is 3; expected settings"):
        only(3)


def test_files_of_before_the_first_version():
    old = {"LN_after": False, "MH_Adapter": True, "non_linearity": "gelu", "attention_type": "x"}
    values = only(old, has_version=False)[1].values
    assert values == {"ln_after": False, "mh_adapter": True, "non_linearity": "gelu_new"}
    found = configs_of(
        "file", {"invertible_adapter": {"block_type": "glow", "reduction_factor": 2}},
        has_version=False,
    )  # fmt: skip
    assert found[1][1].values["inv_adapter"] == "glow"
