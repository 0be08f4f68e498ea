"""The shared run, and small predictions made by hand."""

import pytest

from tests import tiny


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """The folder of what the tests of a session share."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture
def finished(root):
    """A finished run."""
    return tiny.shared_run(root)[0]
