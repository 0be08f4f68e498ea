"""Sums are found where they are, and nowhere else."""

import pytest
import torch

from inlay.sites.additions import explain
from tests.sites.windows import Script, found, is_norm, no_norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_pre_norm(dtype):
    script = Script(dtype)
    x = script.note("in", "block", script.new())
    normed = script.call("norm1", x, script.new())
    y = x + script.call("attention", normed, script.new())
    normed = script.call("norm2", y, script.new())
    script.note("out", "block", y + script.call("mlp", normed, script.new()))
    explanation = explain(script.window, is_norm)
    assert found(explanation) == [("attention", 1.0), ("mlp", 1.0)]
    assert explanation.is_complete


def test_post_norm_reads_the_normed_stream():
    script = Script()
    x = script.note("in", "block", script.new())
    total = x + script.call("attention", x, script.new())
    y = script.call("norm1", total, script.new())
    total = y + script.call("mlp", y, script.new())
    script.note("out", "block", script.call("norm2", total, script.new()))
    explanation = explain(script.window, is_norm)
    assert found(explanation) == [("attention", 1.0), ("mlp", 1.0)]
    assert explanation.additions[1].stream.events[0].module == "norm1"
    assert explanation.is_complete


@pytest.mark.parametrize("scale", [0.5, 0.3, 2.0, -1.0, 0.1234])
def test_scales(scale):
    script = Script()
    x = script.note("in", "block", script.new())
    script.note("out", "block", x + scale * script.call("mlp", x, script.new()))
    assert found(explain(script.window, no_norm)) == [("mlp", scale)]


def test_two_updates_in_one_sum():
    script = Script()
    x = script.note("in", "block", script.new())
    one = script.call("attention", x, script.new())
    two = script.call("mlp", x, script.new())
    script.note("out", "block", one + 0.5 * two + x)
    explanation = explain(script.window, no_norm)
    assert found(explanation) == [("attention", 1.0), ("mlp", 0.5)]
    assert explanation.is_complete


def test_the_last_module_that_gave_the_update():
    script = Script()
    x = script.note("in", "block", script.new())
    script.note("in", "mlp", x)
    update = script.call("mlp.down", script.new(2, 5, 32), script.new())
    script.note("out", "mlp", update)
    script.note("out", "block", x + script.call("dropout", update, update))
    assert found(explain(script.window, no_norm)) == [("dropout", 1.0)]


def test_flattened_positions():
    script = Script()
    x = script.note("in", "block", script.new())
    flat = x.reshape(10, 8)
    total = flat + script.call("fc", flat, script.new(10, 8))
    script.note("out", "block", total.view(2, 5, 8))
    assert found(explain(script.window, no_norm)) == [("fc", 1.0)]


def test_an_update_written_over_afterwards():
    script = Script()
    x = script.note("in", "block", script.new())
    update = script.call("mlp", x, script.new())
    total = x + update
    update.zero_()
    script.note("out", "block", total)
    assert found(explain(script.window, no_norm)) == [("mlp", 1.0)]


def test_nearly_a_sum_is_none():
    script = Script()
    x = script.note("in", "block", script.new())
    total = x + script.call("mlp", x, script.new())
    total[1, 3, 2] += 1e-3
    script.note("out", "block", total)
    explanation = explain(script.window, no_norm)
    assert found(explanation) == []
    assert not explanation.is_complete


def test_an_update_too_small_to_be_seen_proves_nothing():
    script = Script()
    x = script.note("in", "block", script.new())
    script.note("out", "block", x + script.call("mlp", x, script.new() * 1e-9))
    assert found(explain(script.window, no_norm)) == []


def test_an_empty_window():
    assert explain(Script().window, no_norm) is None
