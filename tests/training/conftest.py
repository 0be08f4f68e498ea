"""Trainings that are ready to start, and a quick end for those that are not about reloading."""

import pytest

from inlay.training import finish as finish_module
from tests import tiny


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """The folder of what the tests of a session share."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture
def no_reload(monkeypatch):
    """Leave out the check in a fresh process, which takes seconds."""
    monkeypatch.setattr(finish_module, "check_reload", lambda *given: {"rows": 0})


@pytest.fixture
def ready(root, tmp_path):
    """Make a training that is ready to start, with these settings."""

    def make(listener=None, **settings):
        return tiny.prepared(root, tmp_path, listener, **settings)

    return make
