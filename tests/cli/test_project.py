import json

import pytest

from tests import tiny


@pytest.fixture
def project(tmp_path, base, monkeypatch):
    """A folder with a project of one task."""
    tiny.write_csv(tmp_path / "topics.csv", tiny.rows(60))
    (tmp_path / "inlay.yaml").write_text(
        f"base: {base}\ntrain: {{method: head, epochs: 1, precision: float32}}\n"
        "tasks:\n  topics: {data: topics.csv, gate: 2.0}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_status_to_promotion(call, project):
    code, out, _ = call("status")
    assert code == 0
    assert out.splitlines()[0].split() == ["task", "rows", "score", "gate", "promoted", "state"]
    assert out.splitlines()[1].split()[-1] == "new"
    assert call("plan")[1].splitlines() == [
        "topics   seed 1   new", "1 training to run; nothing else will be touched"
    ]  # fmt: skip
    code, out, err = call("run")
    assert code == 0
    assert "accuracy" in out
    assert "== topics, seed 1: new" in err
    assert call("train", "--project", "inlay.yaml")[1] == "everything is fresh\n"
    code, out, err = call("promote", "topics")
    assert (code, out) == (4, "")
    assert "its gate is 2. Improve it, change the gate, or use --force" in err
    assert call("promote", "topics", "--force")[1].startswith("topics v1   accuracy ")
    (state,) = json.loads(call("status", "--json")[1])
    assert (state["state"], state["promoted"]["version"]) == ("fresh", 1)
    code, out, _ = call("compare", "topics")
    assert code == 0
    assert "+0.0 points" in out


def test_a_project_that_is_not_there(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call("status")
    assert code == 2
    assert "inlay.yaml does not exist; a project is a file such as inlay.yaml" in err


def test_data_and_project_do_not_go_together(call, project):
    code, _, err = call("train", "topics.csv", "--project", "inlay.yaml")
    assert code == 2
    assert "--project: the data stand in the project's file; give one of them" in err
