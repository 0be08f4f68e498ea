"""What every test shares: no network, one thread, seeds, and tiny models."""

import os
import socket

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

torch.set_num_threads(1)


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
