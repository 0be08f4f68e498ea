"""The prediction of memory: its arithmetic, and that it is near what a training takes."""

import pytest
import torch

from inlay.training import memory as module
from inlay.training.memory import (
    Memory,
    held,
    note_on,
    peak_since_reset,
    predict_memory,
    reset_peak,
)

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    peak_since_reset(CPU) is None, reason="this system tells no peak of a process"
)


@pytest.mark.parametrize(
    ("free", "micro_batch"),
    [(None, 16), (1_700, 16), (1_600, 8), (900, 8), (500, 4), (0, 1)],
)
def test_two_probes_give_a_line(ready, monkeypatch, free, micro_batch):
    training = ready(optimizer="adafactor").training
    probed = []

    def peak(training, rows):
        probed.append(len(rows))
        return 1_000 + 100 * len(rows)

    monkeypatch.setattr(module, "_peak", peak)
    monkeypatch.setattr(module, "_later", lambda training: 0)
    monkeypatch.setattr(module, "held", lambda device: 1_000)
    monkeypatch.setattr(module, "free", lambda device: free)
    found = predict_memory(training)
    assert probed == [4, 8]
    longest = max(row.length for row in training.train)
    assert found == Memory(1_000 + 100 * micro_batch, 1_000, free, micro_batch, longest)


def test_a_batch_that_fits_easily_is_measured_itself(ready, monkeypatch):
    peaks = {4: 1_400, 8: 1_800, 16: 2_900}
    monkeypatch.setattr(module, "_peak", lambda training, *batches: peaks[len(batches[-1])])
    monkeypatch.setattr(module, "_later", lambda training: 30)
    monkeypatch.setattr(module, "held", lambda device: 1_000)
    for free, expected in ((3_200, 2_930), (3_198, 2_630)):
        monkeypatch.setattr(module, "free", lambda device, free=free: free)
        assert predict_memory(ready().training).peak_bytes == expected


def test_the_longest_batch_is_measured_behind_shorter_rows(ready, monkeypatch):
    stepped = []
    monkeypatch.setattr(module, "_step", lambda training, rows: stepped.append(rows))
    monkeypatch.setattr(module, "free", lambda device: 2**50)
    training = ready().training
    predict_memory(training)
    lengths = [[training.train[row].length for row in rows] for rows in stepped]
    assert [len(own) for own in lengths] == [4, 8, 16, 16, 16, 16]
    shorter, longest = lengths[2:4]
    assert lengths[4:] == [shorter, longest]
    assert max(shorter) <= min(longest)
    assert sum(shorter) < sum(longest)


@pytest.mark.parametrize(("optimizer", "copies"), [("adamw", 3), ("sgd", 2), ("adafactor", 1)])
def test_what_the_optimiser_makes_later_is_counted(ready, optimizer, copies):
    training = ready(optimizer=optimizer).training
    size = sum(p.numel() * 4 for p in training.entry.parameters() if p.requires_grad)
    assert module._later(training) == copies * size


def test_a_batch_of_one(ready):
    found = predict_memory(ready(batch_size=1).training)
    assert found.micro_batch == 1
    assert found.peak_bytes > 0


def test_memory_that_runs_out_in_the_probe_leaves_one_row_at_a_time(ready, monkeypatch):
    def step(training, rows):
        raise MemoryError

    monkeypatch.setattr(module, "_step", step)
    assert predict_memory(ready().training).micro_batch == 1

    def other(training, rows):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(module, "_step", other)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        predict_memory(ready().training)


def test_rows_that_ran_out_of_memory_in_a_probe_are_not_tried_again(ready, monkeypatch):
    def step(training, rows):
        if len(rows) > 4:
            raise MemoryError

    monkeypatch.setattr(module, "_step", step)
    assert predict_memory(ready().training).micro_batch == 4


def test_a_peak_is_seen_and_forgotten():
    reset_peak(CPU)
    before = held(CPU)
    block = torch.ones(64 * 2**18)  # 64 MiB
    del block
    assert peak_since_reset(CPU) >= before + 60 * 2**20
    reset_peak(CPU)
    assert peak_since_reset(CPU) < before + 60 * 2**20


def test_no_prediction_where_nothing_is_told(ready, monkeypatch):
    monkeypatch.setattr(module, "peak_since_reset", lambda device: None)
    training = ready().training
    assert predict_memory(training) is None
    assert note_on(None, training.config) == []
