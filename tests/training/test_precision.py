"""How the base is stored and computed, by precision, method and device."""

import pytest
import torch

from inlay.errors import ConfigError
from inlay.training import precision
from inlay.training.precision import Numerics, choose_numerics, has_fast_bfloat16

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
CASES = [
    # precision, trains_base, device, is fast -> stored, autocast, attention
    ("float32", False, CPU, True, Numerics("float32", False, "sdpa")),
    ("float32", True, CUDA, True, Numerics("float32", False, "sdpa")),
    ("bfloat16", False, CPU, False, Numerics("bfloat16", False, "eager")),
    ("bfloat16", True, CPU, False, Numerics("float32", True, "eager")),
    ("bfloat16", False, CUDA, False, Numerics("bfloat16", False, "sdpa")),
    ("bfloat16", True, CUDA, False, Numerics("float32", True, "sdpa")),
    ("auto", False, CPU, True, Numerics("bfloat16", False, "eager")),
    ("auto", False, CPU, False, Numerics("float32", False, "sdpa")),
    ("auto", True, CUDA, True, Numerics("float32", True, "sdpa")),
    ("auto", True, CUDA, False, Numerics("float32", False, "sdpa")),
]


@pytest.mark.parametrize(("asked", "trains_base", "device", "is_fast", "expected"), CASES)
def test_choice(asked, trains_base, device, is_fast, expected, monkeypatch):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda device: is_fast)
    assert choose_numerics(asked, trains_base=trains_base, device=device) == expected


def test_precision_in_one_word():
    assert Numerics("bfloat16", False, "sdpa").precision == "bfloat16"
    assert Numerics("float32", True, "sdpa").precision == "bfloat16"
    assert Numerics("float32", False, "sdpa").precision == "float32"


def test_bfloat16_where_there_is_none():
    with pytest.raises(ConfigError, match="precision='bfloat16': this device has no bfloat16; use"):
        choose_numerics("bfloat16", trains_base=False, device=MPS)
    assert choose_numerics("auto", trains_base=False, device=MPS).precision == "float32"


@pytest.mark.parametrize(("amx", "avx"), [(False, False), (True, False), (False, True)])
def test_a_cpu_is_fast_with_either_instruction_set(amx, avx, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    assert has_fast_bfloat16(CPU) is (amx or avx)


def test_emulated_bfloat16_does_not_count(monkeypatch):
    def is_supported(including_emulation=True):
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert not has_fast_bfloat16(CUDA)
    assert not has_fast_bfloat16(MPS)
