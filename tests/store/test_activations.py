"""The cache of hidden states: rows come back exactly, and nothing half-written is ever read."""

import subprocess
import sys

import pytest
import torch

from inlay.errors import FormatError
from inlay.store import activations
from inlay.store.activations import ActivationStore, cache_root, make_room, room_for, size_of

LIMIT = 2**30


def store_at(folder, **changes):
    given = {"names": ("a", "b"), "dtype": torch.bfloat16, "limit": LIMIT, **changes}
    return ActivationStore(folder, **given)


def row(seed, length=5):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, 7, generator=generator).bfloat16() for _ in range(2)]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(activations, "CHUNK", 1000)


def test_rows_come_back_and_are_there_for_the_next_store(tmp_path):
    store = store_at(tmp_path / "key")
    for seed in range(20):
        store.put(bytes([seed]), row(seed, length=1 + seed * 3))
    store.put(bytes([3]), row(99))  # is there already: the first one stays
    later = [store]
    assert store.num_reused == 0
    assert store_at(tmp_path / "key").num_reused == 0, "not before it is finished"
    store.publish()
    store.put(b"more", row(1))
    store.publish()
    later.append(store_at(tmp_path / "key"))
    assert later[1].num_reused == len(later[1]) == 21
    for own in later:
        for seed in range(20):
            for one, two in zip(own.get(bytes([seed])), row(seed, 1 + seed * 3), strict=True):
                assert torch.equal(one, two)
    assert b"none" not in later[1]


def test_another_shape_of_cache_is_not_mixed_in(tmp_path):
    store = store_at(tmp_path / "key")
    store.put(b"x", row(1))
    store.publish()
    assert len(store_at(tmp_path / "key", dtype=torch.float16)) == 0


def test_a_damaged_row_is_refused(tmp_path):
    store = store_at(tmp_path / "key")
    store.put(b"x", row(1))
    store.publish()
    (segment,) = (tmp_path / "key").iterdir()
    data = bytearray((segment / "0.bin").read_bytes())
    data[17] ^= 1
    (segment / "0.bin").write_bytes(bytes(data))
    with pytest.raises(FormatError, match="are damaged"):
        store_at(tmp_path / "key").get(b"x")


@pytest.mark.parametrize("what", ["index.json", "0.bin"])
def test_a_segment_that_lost_a_file_is_removed(tmp_path, what):
    store = store_at(tmp_path / "key")
    store.put(b"x", row(1))
    store.publish()
    (segment,) = (tmp_path / "key").iterdir()
    (segment / what).unlink()
    assert len(store_at(tmp_path / "key")) == 0
    assert list((tmp_path / "key").iterdir()) == []


def test_a_killed_process_leaves_nothing_that_is_read(tmp_path):
    script = (
        "import os, sys, torch; from pathlib import Path\n"
        "from inlay.store.activations import ActivationStore\n"
        "store = ActivationStore(Path(sys.argv[1]), ('a',), torch.float32, limit=2**30)\n"
        "store.put(b'x', [torch.ones(4, 4)])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "key")], check=False)
    assert done.returncode == -9
    assert len(list((tmp_path / "key").iterdir())) == 1
    assert len(store_at(tmp_path / "key", names=("a",), dtype=torch.float32)) == 0
    assert list((tmp_path / "key").iterdir()) == []


def test_a_segment_in_use_stays(tmp_path):
    writing = store_at(tmp_path / "key")
    writing.put(b"x", row(1))
    store_at(tmp_path / "key")
    writing.publish()
    assert len(store_at(tmp_path / "key")) == 1


def test_the_limit_holds_and_older_caches_make_room(tmp_path):
    old = store_at(tmp_path / "old", limit=3500)
    old.put(b"x", row(1))
    old.publish()
    new = store_at(tmp_path / "new", limit=3500)
    for number in range(30):
        new.put(bytes([number]), row(number))
    assert not (tmp_path / "old").exists()
    assert new.is_full
    assert 0 < len(new) < 30
    assert size_of(tmp_path) <= 3500
    assert all(torch.equal(a, b) for a, b in zip(new.get(bytes([0])), row(0), strict=True))


def test_a_full_disk_stops_the_cache_and_nothing_else(tmp_path, monkeypatch):
    store = store_at(tmp_path / "key")
    store.put(b"x", row(1))

    def full(file, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(activations, "reserve", full)
    for number in range(20):
        store.put(bytes([number]), row(number))
    assert store.is_full
    assert torch.equal(store.get(b"x")[0], row(1)[0])
    store.publish()
    assert b"x" in store_at(tmp_path / "key")


def test_forget_drops_what_was_not_published(tmp_path):
    store = store_at(tmp_path / "key")
    store.put(b"x", row(1))
    store.publish()
    store.put(b"y", row(2))
    store.forget()
    assert (b"x" in store, b"y" in store) == (True, False)
    assert len(list((tmp_path / "key").iterdir())) == 1
    store.put(b"y", row(3))
    store.publish()
    assert torch.equal(store_at(tmp_path / "key").get(b"y")[0], row(3)[0])


def test_discard_removes_the_cache(tmp_path):
    store = store_at(tmp_path / "key")
    store.put(b"x", row(1))
    store.discard()
    assert not (tmp_path / "key").exists()
    store.put(b"y", row(1))
    assert len(store) == 0


def test_reserve_without_the_system_call(tmp_path, monkeypatch):
    monkeypatch.delattr(activations.os, "posix_fallocate", raising=False)
    with (tmp_path / "x").open("w+b") as file:
        activations.reserve(file, 3 * 2**20 + 5)
    assert (tmp_path / "x").stat().st_size == 3 * 2**20 + 5


def test_where_caches_are(tmp_path, monkeypatch):
    monkeypatch.setenv("INLAY_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("INLAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "inlay"
    assert room_for(tmp_path / "none" / "yet", 1000) == 1000
    assert room_for(tmp_path, 1e30) < 1e15
    assert make_room(tmp_path, 5, 10, keep=tmp_path / "x")
    assert not make_room(tmp_path, 11, 10, keep=tmp_path / "x")
