"""Checkpoints: exact, whole, verified, and two of them."""

import errno
import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from inlay.errors import ResourceError
from inlay.training.checkpoint import (
    Checkpoints,
    Snapshot,
    flatten_optimizer,
    random_state,
    restore_random_state,
    unflatten_optimizer,
)
from inlay.training.optim import build_optimizer


def snapshot(number: float) -> Snapshot:
    generator = torch.Generator().manual_seed(int(number))
    weights = {
        "site/a.b/down": torch.randn(3, 5, generator=generator),
        "head/out": torch.randn(4, generator=generator).to(torch.bfloat16),
        "odd": torch.tensor([float("nan"), float("inf"), -0.0, 1e-42]),
        "transposed": torch.randn(2, 6, generator=generator).T,
    }
    best = {key: value + number for key, value in weights.items()}
    optimizer = {"0/step": torch.tensor(number), "0/exp_avg": torch.randn(3, generator=generator)}
    return Snapshot(weights=weights, best=best, optimizer=optimizer, state={"step": number / 3})


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, tuple]:
    return {
        key: (value.dtype, tuple(value.shape), value.contiguous().view(torch.uint8).tolist())
        for key, value in tensors.items()
        if value.ndim
    } | {key: value.item() for key, value in tensors.items() if not value.ndim}


def assert_same(a: Snapshot, b: Snapshot) -> None:
    for name in ("weights", "best", "optimizer"):
        assert bits(getattr(a, name)) == bits(getattr(b, name))
    assert a.state == b.state


@pytest.fixture
def three(tmp_path):
    """Checkpoints of the steps 1, 2 and 3, of which two are kept."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        checkpoints.save(snapshot(step), step)
    return checkpoints


def test_newest_comes_back_bit_for_bit(three):
    found, notes = three.newest()
    assert_same(found, snapshot(3))
    assert notes == []


def test_best_may_be_empty(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Snapshot(weights={}, best={}, optimizer={}, state={}), 1)
    found, _ = checkpoints.newest()
    assert found.best == {}


def test_only_the_last_two_are_kept(three):
    assert [path.name for path in three.paths()] == ["step-000002", "step-000003"]


def test_steps_are_in_order_beyond_a_million(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (999_998, 999_999, 1_000_000):
        checkpoints.save(snapshot(step), step)
    assert [path.name for path in checkpoints.paths()] == ["step-999999", "step-1000000"]
    assert_same(checkpoints.newest()[0], snapshot(1_000_000))


def test_a_step_can_be_saved_again(three):
    three.save(snapshot(7), 3)
    assert_same(three.newest()[0], snapshot(7))
    assert len(list(three.folder.iterdir())) == 2


def truncate(path: Path) -> None:
    (path / "best.safetensors").write_bytes((path / "best.safetensors").read_bytes()[:-3])


def flip(path: Path) -> None:
    data = bytearray((path / "optimizer.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "optimizer.safetensors").write_bytes(data)


def lose(path: Path) -> None:
    (path / "state.json").unlink()


def garble(path: Path) -> None:
    (path / "manifest.json").write_text("{")


def forget(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["weights.safetensors"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "weights.safetensors").unlink()


DAMAGES = [
    (truncate, r"best.safetensors has \d+ bytes, not \d+"),
    (flip, "optimizer.safetensors was changed"),
    (lose, "FileNotFoundError: .*state.json"),
    (garble, "JSONDecodeError"),
    (forget, "manifest.json lists other files"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_damaged_one_is_named_and_the_one_before_used(three, damage, reason):
    damage(three.paths()[-1])
    found, notes = three.newest()
    assert_same(found, snapshot(2))
    assert len(notes) == 1
    assert notes[0].startswith("checkpoint step-000003 is damaged (")
    assert re.search(reason, notes[0])


def test_two_damaged_ones_leave_nothing(three):
    for path in three.paths():
        flip(path)
    found, notes = three.newest()
    assert found is None
    assert len(notes) == 2


def test_no_folder_is_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "nowhere").newest() == (None, [])


def test_half_a_checkpoint_is_none(three):
    """What a process that was killed while writing leaves behind is not looked at."""
    left = three.folder / ".step-000004.abc"
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"half")
    assert_same(three.newest()[0], snapshot(3))
    three.clear()
    assert not three.folder.exists()


def test_a_full_disk_keeps_the_checkpoints_before(three, monkeypatch):
    before = {path: path.read_bytes() for path in three.folder.rglob("*") if path.is_file()}
    write = Path.write_bytes

    def full(self, data):
        if self.name == "optimizer.safetensors":
            write(self, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResourceError, match=r"the disk is full: .* make room and run `inlay res"):
        three.save(snapshot(4), 4)
    monkeypatch.undo()
    after = {path: path.read_bytes() for path in three.folder.rglob("*") if path.is_file()}
    assert after == before


def test_another_fault_of_the_disk_is_not_called_full(three, monkeypatch):
    def refuse(self, data):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        three.save(snapshot(4), 4)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adagrad", "adafactor"])
def test_an_optimizer_goes_on_as_if_it_had_never_stopped(name):
    def build():
        torch.manual_seed(2)
        network = nn.Linear(6, 4)
        optimizer = build_optimizer(
            name, network.parameters(), learning_rate=0.03, weight_decay=0.1
        )
        return network, optimizer

    def step(network, optimizer, seed):
        generator = torch.Generator().manual_seed(seed)
        optimizer.zero_grad()
        network(torch.randn(5, 6, generator=generator)).square().sum().backward()
        optimizer.step()

    network, optimizer = build()
    step(network, optimizer, 1)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    tensors, plain = flatten_optimizer(optimizer.state_dict())
    tensors = {key: value.clone() for key, value in tensors.items()}
    plain = json.loads(json.dumps(plain))
    step(network, optimizer, 2)

    other, other_optimizer = build()
    other.load_state_dict(weights)
    other_optimizer.load_state_dict(unflatten_optimizer(tensors, plain))
    step(other, other_optimizer, 2)
    assert tensors
    assert torch.equal(other.weight, network.weight)
    assert torch.equal(other.bias, network.bias)


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_what_was_saved_of_an_optimizer_that_is_not_fused_goes_on(name):
    """As older versions saved it."""
    found = []
    for fused in (False, True):
        torch.manual_seed(2)
        network = nn.Linear(6, 4)
        optimizer = build_optimizer(
            name, network.parameters(), learning_rate=0.03, weight_decay=0.1
        )
        for group in optimizer.param_groups:
            assert group["fused"] is True
            group["fused"] = fused
        for step in range(3):
            if step == 1:
                saved = unflatten_optimizer(*flatten_optimizer(optimizer.state_dict()))
                optimizer = build_optimizer(
                    name, network.parameters(), learning_rate=0.03, weight_decay=0.1
                )
                optimizer.load_state_dict(saved)
            optimizer.zero_grad()
            network(torch.linspace(-1, 1, 30).view(5, 6)).square().sum().backward()
            optimizer.step()
        found.append(network.weight.detach())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


def test_random_numbers_go_on_after_json():
    state = json.loads(json.dumps(random_state()))
    expected = torch.rand(5)
    torch.rand(11)
    restore_random_state(state)
    assert torch.equal(torch.rand(5), expected)


def test_the_device_has_random_numbers_of_its_own(monkeypatch):
    class FakeDevice:
        state = torch.tensor([7, 8, 9], dtype=torch.uint8)

        def get_rng_state(self):
            return self.state.clone()

        def set_rng_state(self, state):
            self.state = state

    fake = FakeDevice()
    monkeypatch.setattr(torch, "get_device_module", lambda device: fake)
    device = torch.device("cuda")
    state = json.loads(json.dumps(random_state(device)))
    assert set(state) == {"cpu", "cuda"}
    fake.state = torch.zeros(3, dtype=torch.uint8)
    restore_random_state({"cpu": state["cpu"]}, device)  # saved on a machine without one
    assert fake.state.tolist() == [0, 0, 0]
    restore_random_state(state, torch.device("cpu"))
    assert fake.state.tolist() == [0, 0, 0]
    restore_random_state(state, device)
    assert fake.state.tolist() == [7, 8, 9]


def test_a_full_disk_says_how_the_caller_wants_it_to_go_on(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    checkpoints = Checkpoints(tmp_path / "checkpoints", go_on="run the same command again")
    with pytest.raises(ResourceError, match=r"make room and run the same command again\.$"):
        checkpoints.save(snapshot(1), 1)
