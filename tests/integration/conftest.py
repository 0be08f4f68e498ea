"""A tiny base and a tiny data set, in a folder that the program runs in."""

import pytest

from tests import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a tiny base."""
    return tiny.write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a data set in it."""
    tiny.write_csv(tmp_path / "topics.csv", tiny.rows(90))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path
