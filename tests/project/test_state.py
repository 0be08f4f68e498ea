"""What is fresh, stale, new and unfinished."""

from inlay.project.state import project_state, task_state
from inlay.project.work import run_project
from tests import tiny


def states(project):
    return {state.task.name: state.state for state in project_state(project)}


def test_a_project_from_new_to_fresh_to_stale(project, tmp_path):
    first = project()
    assert states(first) == {"topics": "new", "other": "new"}
    run_project(first, ["topics"])
    assert states(first) == {"topics": "fresh", "other": "new"}
    found = task_state(first, first.task("topics"))
    assert (found.metric, found.rows > 40, found.why) == ("accuracy", True, "")
    assert found.best.metrics["test"]["accuracy"] == found.score
    old = found.best.folder

    changed = project(weight_decay=0.5)
    found = task_state(changed, changed.task("topics"))
    assert (found.state, found.score) == ("stale", None)
    assert found.why == f"data, settings or version changed since {old.name}"
    assert old.is_dir(), "the older run stays"
    assert states(project()) == {"topics": "fresh", "other": "new"}, "as it was before"

    tiny.write_csv(tmp_path / "topics.csv", tiny.rows(63))
    assert states(project()) == {"topics": "stale", "other": "new"}


def test_another_version_of_the_library_is_stale(project, monkeypatch):
    own = project()
    run_project(own, ["topics"])
    monkeypatch.setattr("inlay.project.state.__version__", "9.9.9")
    assert states(own)["topics"] == "stale"


def test_a_run_without_its_end_is_unfinished(project):
    own = project()
    (run,) = run_project(own, ["topics"])
    (run.folder / "metrics.json").unlink()
    assert states(own)["topics"] == "unfinished"
