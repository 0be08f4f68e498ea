"""The manifest is read strictly (the faults themselves are in test_load)."""

import pytest

from inlay.errors import FormatError
from inlay.store.manifest import read_manifest


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "adapter.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(FormatError, match=r"adapter.json: not text in UTF-8"):
        read_manifest(tmp_path)


def test_a_missing_field_is_named(tmp_path):
    (tmp_path / "adapter.json").write_text('{"format": "inlay-adapter", "format_version": 1}')
    with pytest.raises(FormatError, match="library_version: Field required"):
        read_manifest(tmp_path)
