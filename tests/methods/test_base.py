"""What all methods share: settings, checks, adding in the output's precision."""

import pytest
import torch

from inlay.errors import ConfigError
from inlay.methods.base import add, check_at_least, check_choice, check_fraction, from_settings
from inlay.methods.lora import LoRA


def test_settings_that_are_not_known():
    with pytest.raises(
        ConfigError,
        match=r"lora has no setting 'rnak'; it has rank, alpha, .*Did you mean 'rank'",
    ):
        from_settings(LoRA, {"rnak": 3})
    with pytest.raises(ConfigError, match=r"LoRA\(rank=0\): rank must be at least 1"):
        from_settings(LoRA, {"rank": 0})
    with pytest.raises(ConfigError, match="lora: "):
        from_settings(LoRA, {"rank": "three"})


def test_checks_say_what_is_allowed():
    check_fraction("M", "dropout", 0.0)
    for value in (-0.1, 1.0):
        with pytest.raises(ConfigError, match=r"dropout is a fraction in \[0, 1\)"):
            check_fraction("M", "dropout", value)
    check_at_least("M", "rank", 1, 1)
    with pytest.raises(ConfigError, match=r"M\(rank=0\): rank must be at least 1"):
        check_at_least("M", "rank", 0, 1)
    with pytest.raises(
        ConfigError,
        match=r"M\(init='zerro'\): init is one of 'zero', 'one'\. "
        "Did you mean 'zero'",
    ):
        check_choice("M", "init", "zerro", ("zero", "one"))


def test_sums_keep_the_bases_precision():
    total = add(torch.ones(2, dtype=torch.bfloat16), torch.full((2,), 0.5))
    assert total.dtype == torch.bfloat16
    assert total.tolist() == [1.5, 1.5]
