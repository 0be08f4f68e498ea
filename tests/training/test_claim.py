"""A folder is one process's at a time, and free again when that process is gone."""

import os
import signal
import subprocess
import sys

import pytest

from inlay.training.claim import Claim

HOLD = """
import sys, time
from pathlib import Path
from inlay.training.claim import Claim
claim = Claim.take(Path(sys.argv[1]))
print(claim is not None, flush=True)
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")


def test_one_at_a_time(tmp_path):
    first = Claim.take(tmp_path / "run")
    assert first is not None
    (first.path / "config.yaml").write_text("mine")
    assert Claim.take(tmp_path / "run") is None
    assert Claim.take(tmp_path / "other") is not None
    first.release()
    again = Claim.take(tmp_path / "run")
    assert again is not None
    assert [path.name for path in again.path.iterdir()] == ["config.yaml"]


def test_an_empty_folder_goes_with_its_claim(tmp_path):
    claim = Claim.take(tmp_path / "a" / "run")
    assert claim is not None
    claim.release()
    claim.release()
    assert not (tmp_path / "a" / "run").exists()
    assert Claim.take(tmp_path / "a" / "run") is not None


def test_a_killed_process_holds_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert Claim.take(tmp_path) is None
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert Claim.take(tmp_path) is not None


def test_a_drive_without_locks_grants_every_claim(tmp_path, monkeypatch):
    import fcntl

    def refuses(handle, operation):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuses)
    assert Claim.take(tmp_path) is not None
    assert Claim.take(tmp_path) is not None
