"""`inlay depth`: its table and its JSON."""

import json

import pytest

from inlay.cli.main import main
from inlay.training import finish as finish_module
from tests import tiny


@pytest.fixture
def search(tmp_path_factory, tmp_path, monkeypatch):
    monkeypatch.setattr(finish_module, "check_reload", lambda *given: {"rows": 0})
    root = tmp_path_factory.getbasetemp()

    def run(*options):
        settings = ["--base", str(tiny.shared_base(root)), "--epochs", "1", "--out", str(tmp_path)]
        settings += ["--set", "precision=float32", "--set", "batch_size=16"]
        return main(["depth", str(tiny.shared_data(root)), *settings, *options])

    return run


def test_table_and_then_json_from_the_same_runs(search, capsys):
    assert search() == 0
    lines = capsys.readouterr()[0].splitlines()
    assert lines[0].split()[:3] == ["layers", "blocks", "validation"]
    assert [line.split()[:2] for line in lines[1:3]] == [["upper", "1"], ["all", "2"]]
    assert sum("*" in line or "★" in line for line in lines[1:3]) == 1
    text = "\n".join(lines)
    assert "the fewest blocks within a standard error of the best" in text
    assert "next    inlay show" in text
    assert search("--json") == 0
    found = json.loads(capsys.readouterr()[0])
    assert (found["metric"], len(found["depths"])) == ("accuracy", 2)
    assert found["recommended"] in ("upper", "all")


def test_mistakes(search, capsys):
    assert search("--set", "layers=upper") == 2
    assert "layers='upper' is what is searched" in capsys.readouterr()[1]
