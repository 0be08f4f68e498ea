"""One small training that the tests of commands share, made through the command line."""

import pytest

from inlay.cli.main import main
from inlay.training import finish as finish_module
from tests import tiny
from tests.cli.program import TRAIN


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A folder with a tiny base."""
    return tiny.write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def topics(tmp_path_factory):
    """A CSV file of 120 rows and three labels."""
    path = tmp_path_factory.mktemp("data") / "topics.csv"
    return tiny.write_csv(path, tiny.rows(120))


@pytest.fixture(scope="session")
def run(tmp_path_factory, base, topics):
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "topics"
    assert main([*TRAIN, str(topics), "--base", str(base), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def search(tmp_path_factory, tmp_path, monkeypatch):
    """Run a search on shared data with short trainings; gives the exit code."""
    monkeypatch.setattr(finish_module, "check_reload", lambda *given: {"rows": 0})
    root = tmp_path_factory.getbasetemp()

    def run_search(command, *options):
        settings = ["--base", str(tiny.shared_base(root)), "--epochs", "1", "--out", str(tmp_path)]
        settings += ["--set", "precision=float32", "--set", "batch_size=16"]
        return main([command, str(tiny.shared_data(root)), *settings, *options])

    return run_search


@pytest.fixture
def call(capsys):
    """Run the command line in this process; gives exit code, stdout and stderr."""

    def run_main(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_main
