"""What a training will take is told by steps that change nothing."""

import pytest
import torch

from inlay.errors import ResourceError
from inlay.training import estimate as estimate_module
from inlay.training import memory as memory_module
from inlay.training.estimate import estimate_memory, estimate_seconds
from tests.training.fitting import hungry


def test_estimates_change_nothing(ready):
    found = ready(layers="upper")
    training = found.training
    before = {key: value.clone() for key, value in training.entry.tensors().items()}
    state = torch.random.get_rng_state()
    assert estimate_memory(found) is not None
    assert estimate_seconds(found) > 0
    assert len(found.replay.stores[0]) == 0
    assert torch.equal(torch.random.get_rng_state(), state)
    for key, value in training.entry.tensors().items():
        assert torch.equal(value, before[key])
    assert all(p.grad is None for p in training.entry.parameters())
    assert not training.optimizer.state


def test_the_batch_is_cut_before_memory_runs_out(ready, monkeypatch):
    found = ready()
    # Less than nothing, as so small a step may fit into pages that the process has already.
    monkeypatch.setattr(memory_module, "free", lambda device: -(10**12))
    memory = estimate_memory(found)
    assert memory.micro_batch == found.training.micro_batch == 1
    assert found.notes[-1].startswith("memory would not suffice for 16 rows of")
    assert found.notes[-1].endswith(": 1 rows at a time, summed up to the same batch")
    monkeypatch.setattr(memory_module, "free", lambda device: 10**12)
    roomy = ready()
    assert estimate_memory(roomy).micro_batch == roomy.training.micro_batch == 16
    assert roomy.notes == []


def test_estimate_grows_with_the_epochs(ready, monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            self.now += 1.0
            return self.now

    def estimate(**settings):
        monkeypatch.setattr(estimate_module, "time", Clock())
        return estimate_seconds(ready(**settings))

    # 6 batches of an epoch, and 12 validation rows at a third of the cost.
    assert estimate(epochs=1) == pytest.approx(6 + 12 / 16 / 3)
    assert estimate(epochs=4) == pytest.approx(4 * (6 + 12 / 16 / 3))
    assert estimate(epochs=1, gradient_accumulation=3) == pytest.approx(6 + 12 / 16 / 3)


def test_estimate_survives_out_of_memory(ready):
    found = ready()
    task = found.training.task
    found.training.task = hungry(task, 3)
    assert estimate_seconds(found) > 0
    found.training.task = hungry(task, 0)
    with pytest.raises(ResourceError, match=r"^memory does not suffice for one row of"):
        estimate_seconds(found)
