"""Without a network a Hub name fails at once, with a way out."""

import pytest

from inlay.data.sources import read_dataset
from inlay.errors import DataError


def test_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with pytest.raises(DataError, match="someone/some-set"):
        read_dataset("someone/some-set")
