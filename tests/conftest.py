"""What every test shares: no network, one thread, seeds, and processes that start at once."""

import gc
import os
import socket
import subprocess
from types import SimpleNamespace

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # also of the processes that tests start

import torch

from inlay.training import reload_check
from tests.forks import run_reload_check

torch.set_num_threads(1)


def pytest_collection_finish():
    """Keep what was imported out of every later collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _reload_checks_start_as_forks():
    """Let trainings check their adapters in a fork; `started_anew` is what users get."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reload_check, "subprocess", SimpleNamespace(run=run_reload_check))
        yield


@pytest.fixture
def started_anew(monkeypatch):
    """Let trainings check their adapters in a process that imports everything itself."""
    monkeypatch.setattr(reload_check, "subprocess", subprocess)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Let no test reach another machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        is_local = self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost")
        if not is_local:
            raise AssertionError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    """Let each test have a cache of its own."""
    monkeypatch.setenv(
        "INLAY_CACHE", str(tmp_path_factory.getbasetemp() / "cache" / os.urandom(4).hex())
    )


@pytest.fixture(autouse=True)
def _seed():
    """Start every test from the same random numbers."""
    torch.manual_seed(7)
