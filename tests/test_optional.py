"""A missing package is named with the extra that brings it."""

import json

import pytest

from inlay.errors import MissingExtraError
from inlay.optional import require


def test_a_package_that_is_there():
    assert require("json", extra="data", purpose="Reading") is json


def test_a_package_that_is_not():
    with pytest.raises(
        MissingExtraError,
        match=r"Reading sound needs soundfilee\. Install it "
        r"with: pip install 'inlay\[speech\]'",
    ):
        require("soundfilee", extra="speech", purpose="Reading sound")
    with pytest.raises(ImportError, match="soundfilee"):
        require("soundfilee", extra="speech", purpose="Reading sound")
