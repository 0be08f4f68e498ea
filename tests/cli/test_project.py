"""`inlay status`, `plan`, `run` and `promote`, from a new project to a promoted run."""

import json

import pytest

from tests import tiny

FILE = """
base: {base}
train: {{epochs: 1, method: head, batch_size: 16, learning_rate: 0.02, precision: float32}}
tasks:
  topics: {{data: topics.csv, gate: 0.0}}
  noisy: {{data: noisy.csv, gate: 1.5}}
"""


@pytest.fixture
def project(tmp_path, base, monkeypatch):
    """A new project, in the working directory."""
    monkeypatch.chdir(tmp_path)
    tiny.write_csv(tmp_path / "topics.csv", tiny.rows(60))
    tiny.write_csv(tmp_path / "noisy.csv", tiny.rows(45, seed=3, noise=0.2))
    path = tmp_path / "inlay.yaml"
    path.write_text(FILE.format(base=base), encoding="utf-8")
    return path


def cells(out):
    """Return the words of each line of a table, by the first one."""
    return {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}


def test_from_new_to_promoted(project, call):
    code, out, _ = call("plan")
    assert code == 0
    assert out.splitlines() == [
        "topics   seed 1   new", "noisy   seed 1   new",
        "2 trainings to run; nothing else will be touched",
    ]  # fmt: skip
    assert not (project.parent / "runs").exists()

    code, out, err = call("run", "topics")
    assert code == 0
    (run,) = (project.parent / "runs" / "topics").iterdir()
    assert out.startswith(f"runs/topics/{run.name}   accuracy ")
    assert "== topics, seed 1: new" in err
    score = out.strip().partition("accuracy ")[2]

    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert call("run", "topics")[:2] == (0, "everything is fresh\n")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before

    code, out, _ = call("promote", "topics")
    assert code == 0
    assert out == f"topics v1   accuracy {score}   topics/{run.name}\n"
    table = cells(call("status")[1])
    assert list(table) == ["task", "topics", "noisy"]
    assert table["topics"][2:] == ["accuracy", *score.split(), "0", "v1", "fresh"]
    assert table["noisy"][2:] == ["1.5", "new"]


def test_a_missed_gate_is_exit_code_4_until_forced(project, call):
    assert call("run", "noisy")[0] == 0
    code, out, err = call("promote", "noisy")
    assert (code, out) == (4, "")
    assert "its gate is 1.5" in err
    assert not (project.parent / "runs" / "promoted.json").exists()
    code, out, _ = call("promote", "noisy", "--force")
    assert code == 0
    assert out.startswith("noisy v1   accuracy ")


def test_edited_data_are_stale_in_plan_and_status(project, call):
    assert call("run", "topics")[0] == 0
    (run,) = (project.parent / "runs" / "topics").iterdir()
    tiny.write_csv(project.parent / "topics.csv", tiny.rows(61))
    why = f"data, settings or version changed since {run.name}"
    out = call("plan", "topics")[1]
    assert out == (
        f"topics   seed 1   stale   {why}\n1 training to run; nothing else will be touched\n"
    )
    topics, noisy = json.loads(call("status", "--json")[1])
    assert (topics["task"], topics["state"], topics["why"]) == ("topics", "stale", why)
    assert (topics["metric"], topics["score"], topics["promoted"]) == (None, None, None)
    assert (noisy["task"], noisy["state"], noisy["gate"]) == ("noisy", "new", 1.5)
    assert "STALE" in call("status")[1]


def test_status_as_json_says_all_of_a_finished_task(project, call):
    assert call("run", "topics", "-p", project)[0] == 0
    assert call("promote", "topics", "-p", project)[0] == 0
    topics = json.loads(call("status", "--json", "-p", project)[1])[0]
    metrics = json.loads(next(project.parent.glob("runs/topics/*/metrics.json")).read_text())
    assert topics["score"] == metrics["test"]["accuracy"]
    assert (topics["state"], topics["metric"], topics["gate"]) == ("fresh", "accuracy", 0.0)
    assert topics["promoted"]["version"] == 1
    assert [(one["seed"], one["state"]) for one in topics["runs"]] == [(1, "fresh")]


@pytest.mark.parametrize("command", ["status", "plan", "run"])
def test_no_project_is_said_with_exit_code_2(command, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(command)
    assert (code, out) == (2, "")
    assert "inlay.yaml does not exist" in err


@pytest.mark.parametrize("command", ["plan", "run", "promote"])
def test_an_unknown_task_is_answered_with_a_near_one(command, call, project):
    code, out, err = call(command, "topic")
    assert (code, out) == (2, "")
    assert "Did you mean 'topics'?" in err
    assert not (project.parent / "runs").exists()


def test_nothing_to_promote(project, call):
    code, _, err = call("promote", "topics")
    assert code == 2
    assert "no fresh run: inlay run topics" in err
