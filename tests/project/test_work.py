"""Training what is not fresh, comparing and promoting."""

import pytest

from inlay.errors import RunError
from inlay.project.work import (
    GateError,
    compare_with_promoted,
    promote,
    promoted_folders,
    read_promoted,
    run_project,
)


def test_what_is_fresh_is_not_touched(project):
    own = project()
    told = []
    done = run_project(own, on_task=lambda state, run: told.append((state.task.name, run.state)))
    assert told == [("topics", "new"), ("other", "new")]
    assert len(done) == 2
    before = {path: path.stat().st_mtime_ns for path in own.runs.rglob("*") if path.is_file()}
    assert run_project(own) == []
    after = {path: path.stat().st_mtime_ns for path in own.runs.rglob("*") if path.is_file()}
    assert after == before


def test_promotion_counts_versions_and_minds_the_gate(project):
    own = project()
    with pytest.raises(RunError, match="task 'topics' has no fresh run: inlay run topics"):
        promote(own, "topics")
    with pytest.raises(RunError, match="task 'topics' has no promoted run yet: inlay promote top"):
        compare_with_promoted(own, "topics")
    run_project(own)
    assert promote(own, "topics")["version"] == 1
    assert promote(own, "topics")["version"] == 1, "the same run again is no new version"
    with pytest.raises(GateError, match=r"accuracy is .*, and its gate is 1\.1") as caught:
        promote(own, "other")
    assert caught.value.exit_code == 4
    assert promote(own, "other", force=True)["forced"] is True
    changed = project(learning_rate=0.2)
    run_project(changed, ["topics"])
    first, second = compare_with_promoted(changed, "topics")
    assert (first.run, second.difference is None) == (
        str(own.runs / read_promoted(own)["topics"]["run"]), False
    )  # fmt: skip
    assert promote(changed, "topics")["version"] == 2
    assert set(promoted_folders(changed)) == {"topics", "other"}
    assert all((folder / "adapter").is_dir() for folder in promoted_folders(changed).values())


def test_a_damaged_file_is_named(project):
    own = project()
    own.runs.mkdir()
    (own.runs / "promoted.json").write_text("{")
    with pytest.raises(RunError, match=r"promoted\.json is damaged"):
        read_promoted(own)
