"""A run that is open: its folder is claimed, and let go when it is closed."""

import json

import pytest

from inlay.errors import RunError
from inlay.training.config import resolve_config
from inlay.training.interrupt import StopRequest
from inlay.training.opened import opened
from inlay.training.reporter import SilentReporter
from inlay.training.shelf import Shelf
from tests import tiny


def test_a_folder_belongs_to_one_run_at_a_time(root, tmp_path):
    settings = {
        "data": str(tiny.shared_data(root)), "base": str(tiny.shared_base(root)),
        "out": str(tmp_path / "run"), **tiny.SETTINGS,
    }  # fmt: skip
    given = {"force": False, "folder": None, "stop": StopRequest(), "shelf": Shelf()}
    resolved = resolve_config(settings)
    with opened(resolved, SilentReporter(), **given) as run:
        assert run.is_main
        assert run.snapshot is None
        assert (tmp_path / "run" / "config.yaml").is_file()
        with (
            pytest.raises(RunError, match="is being written by another process"),
            opened(resolved, SilentReporter(), **given),
        ):
            pass
    with opened(resolved, SilentReporter(), **given) as again:
        assert again.prepared.adapters is run.prepared.adapters, "the base is loaded once"
        assert again.prepared.adapters.names == (again.prepared.name,), "a closed run frees its own"
    assert again.prepared.adapters.names == ()


def test_a_run_goes_on_with_the_attention_it_began_with(root, tmp_path):
    settings = {
        "data": str(tiny.shared_data(root)), "base": str(tiny.shared_base(root)),
        "out": str(tmp_path / "run"), **tiny.SETTINGS,
    }  # fmt: skip
    resolved = resolve_config(settings)

    def attention():
        given = {"force": False, "folder": None, "stop": StopRequest(), "shelf": Shelf()}
        with opened(resolved, SilentReporter(), **given) as run:
            return run.prepared.attention

    assert attention().name == "sdpa"
    path = tmp_path / "run" / "environment.json"
    content = json.loads(path.read_text())
    assert content["attention"] == "sdpa"
    path.write_text(json.dumps(content | {"attention": "eager"}))
    assert (attention().name, attention().why) == ("eager", "as this run began")
    assert json.loads(path.read_text())["attention"] == "eager"
