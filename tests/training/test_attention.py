"""Which attention implementation is taken, and that it is remembered."""

import json

import pytest
import torch
from transformers import BertConfig, BertModel

import inlay
from inlay.training import attention as module
from inlay.training.attention import choose_attention


@pytest.fixture
def model(monkeypatch):
    """A base whose batches count as large enough."""
    monkeypatch.setattr(module, "_FEWEST", 0)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, attn_implementation="sdpa",
    )  # fmt: skip
    model = BertModel(config).eval()
    model.requires_grad_(False)
    inlay.attach(model)
    return model


def choose(model, run=None, *, usual="sdpa", **given):
    ids = torch.arange(12).view(2, 6)

    def forward():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids))

    return choose_attention(
        model, model.adapters.sites, run or forward, usual=usual,
        **{"shape": (2, 6), "autocast": False, **given},
    )  # fmt: skip


@pytest.fixture
def seconds(monkeypatch):
    """Let implementations take the times that a test says."""
    times = {}

    def take(block, call, *, autocast):
        return times[block.attention.self.config._attn_implementation]

    monkeypatch.setattr(module, "_seconds", take)
    return times


@pytest.mark.parametrize(
    ("sdpa", "eager", "usual", "expected"),
    [
        (0.002, 0.001, "sdpa", "eager"),
        (0.001, 0.002, "sdpa", "sdpa"),
        (0.00100, 0.00095, "sdpa", "sdpa"),
        (0.00095, 0.00100, "eager", "eager"),
        (0.001, 0.002, "eager", "sdpa"),
    ],
)
def test_the_faster_one_is_taken_if_it_is_faster_by_a_tenth(
    model, seconds, sdpa, eager, usual, expected
):
    seconds |= {"sdpa": sdpa, "eager": eager}
    found = choose(model, usual=usual)
    assert found.name == expected == model.config._attn_implementation
    assert "for a block forwards and backwards over 2 x 6 tokens" in found.why
    assert found.why.endswith("ms; measured now")


def test_what_was_measured_is_remembered(model, seconds, monkeypatch, tmp_path):
    monkeypatch.setenv("INLAY_CACHE", str(tmp_path))
    seconds |= {"sdpa": 0.002, "eager": 0.001}
    assert choose(model).name == "eager"
    seconds |= {"sdpa": 0.001, "eager": 0.002}
    again = choose(model)
    assert again.name == "eager"
    assert f"remembered in {tmp_path / 'attention.json'}" in again.why
    assert choose(model, shape=(2, 60)).name == "sdpa", "other lengths are measured anew"
    assert len(json.loads((tmp_path / "attention.json").read_text())) == 2
    (tmp_path / "attention.json").write_text("{")
    assert choose(model).name == "sdpa", "a damaged file is as good as none"


def test_a_real_measurement_changes_nothing_but_the_implementation(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = choose(model)
    assert found.name in ("sdpa", "eager")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.encoder.layer)


def test_a_base_with_one_implementation(model, seconds, monkeypatch):
    seconds |= {"sdpa": 0.001}
    real = module._set
    monkeypatch.setattr(module, "_set", lambda model, name: name == "sdpa" and real(model, name))
    assert choose(model) == module.Attention("sdpa", "this base has no other")


def test_a_pass_that_does_not_reach_the_block_leaves_the_usual_one(model):
    assert choose(model, run=lambda: None).name == "sdpa"


def test_small_batches_are_not_measured(model, monkeypatch):
    monkeypatch.setattr(module, "_FEWEST", 2**17)
    found = choose(model, usual="eager")
    assert (found.name, "too small" in found.why) == ("eager", True)
