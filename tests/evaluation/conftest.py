"""The shared run, and small predictions made by hand."""

import pytest

from tests import tiny
from tests.evaluation.many_tasks import train_all


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """The folder of what the tests of a session share."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture
def finished(root):
    """A finished run."""
    return tiny.shared_run(root)[0]


@pytest.fixture(scope="session")
def trained(tmp_path_factory, root):
    """Name -> folder of a run, one for each task in `many_tasks`."""
    return train_all(tmp_path_factory.mktemp("tasks"), root)
