"""What is fresh, stale, new or unfinished, and which run is the best one."""

import json
import shutil
import statistics
from pathlib import Path

import pytest

from inlay.errors import DataError
from inlay.project.config import read_project
from inlay.project.state import RunState, TaskState, project_state, task_state
from tests import tiny


def state_of(folder, name="topics"):
    project = read_project(folder / "inlay.yaml")
    return task_state(project, project.task(name))


def edit(folder, old, new):
    path = folder / "inlay.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def finished(seed, form="mean", **scores):
    """Make a finished run with these scores: `validation` and `test`."""
    metrics = {split: {"metric": "m", "m": score} for split, score in scores.items()}
    metrics["headline"] = {"name": "m", "form": form}
    return RunState(seed=seed, folder=None, state="fresh", metrics=metrics)


def test_a_trained_task_is_fresh_and_another_is_new(project):
    topics, noisy = project_state(project)
    assert (topics.state, topics.why, [run.seed for run in topics.runs]) == ("fresh", "", [1, 2])
    assert (noisy.state, noisy.why, noisy.metric, noisy.score, noisy.best) == (
        "new", "", None, None, None,
    )  # fmt: skip
    assert topics.metric == "accuracy"
    assert 0 < topics.rows < 60
    on_disk = [
        json.loads((run.folder / "metrics.json").read_text(encoding="utf-8")) for run in topics.runs
    ]
    assert topics.score == pytest.approx(
        statistics.mean(one["test"]["accuracy"] for one in on_disk)
    )


def test_one_row_more_makes_all_runs_stale_and_its_removal_fresh_again(folder):
    before = (folder / "topics.csv").read_bytes()
    (folder / "topics.csv").write_bytes(before + b"my lost visa card,card\r\n")
    changed = state_of(folder)
    assert changed.state == "stale"
    assert {run.state for run in changed.runs} == {"stale"}
    assert changed.why.startswith("data, settings or version changed since ")
    (folder / "topics.csv").write_bytes(before)
    assert state_of(folder).state == "fresh"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("learning_rate: 0.02", "learning_rate: 0.03", "stale"),
        ("topics.csv, gate: 0.0", "topics.csv, gate: 0.9", "fresh"),
        ("noisy.csv", "noisy.csv, epochs: 4", "fresh"),
        ("seeds: [1, 2]", "seeds: [2, 1]", "fresh"),
        ("seeds: [1, 2]", "seeds: [1, 2, 3]", "new"),
    ],
)
def test_only_what_decides_the_result_makes_a_run_stale(folder, old, new, expected):
    edit(folder, old, new)
    assert state_of(folder).state == expected


def test_another_version_makes_it_stale(project, monkeypatch):
    monkeypatch.setattr("inlay.project.state.__version__", "999.0")
    assert task_state(project, project.task("topics")).state == "stale"


def test_the_run_that_is_fresh_is_not_what_another_has_changed_since(folder):
    fresh = state_of(folder).runs
    older = fresh[1].folder.with_name("0123456789ab-seed2")
    fresh[1].folder.rename(older)
    (fresh[0].folder / "metrics.json").touch()  # the newest of all
    found = state_of(folder)
    assert [run.state for run in found.runs] == ["fresh", "stale"]
    assert found.why == f"data, settings or version changed since {older.name}"


def test_a_run_without_metrics_is_unfinished(folder):
    run = state_of(folder).runs[0]
    (run.folder / "metrics.json").unlink()
    found = state_of(folder)
    assert found.state == "unfinished"
    assert [one.state for one in found.runs] == ["unfinished", "fresh"]
    shutil.rmtree(run.folder)
    assert [one.state for one in state_of(folder).runs] == ["new", "fresh"]


def test_seed_1_is_not_taken_for_seed_11(folder):
    run = state_of(folder).runs[0]
    edit(folder, "seeds: [1, 2]", "seeds: [1]")
    run.folder.rename(run.folder.with_name("0123456789ab-seed11"))
    assert state_of(folder).state == "new"


def test_best_is_by_validation_and_score_the_mean_on_test(project):
    def task(*runs):
        return TaskState(task=project.task("topics"), runs=runs, rows=3)

    runs = (
        finished(1, validation=0.5, test=0.75),
        finished(2, validation=0.625, test=0.25),
        RunState(seed=3, folder=None, state="new", metrics=None),
    )
    assert task(*runs).best.seed == 2
    assert task(*runs).score == 0.5
    assert task(*runs).state == "new"
    less = [finished(seed, "perplexity", validation=9 - seed, test=1.0) for seed in (1, 4, 2)]
    assert task(*less).best.seed == 4


def test_data_that_are_gone_are_an_error(folder):
    (folder / "noisy.csv").unlink()
    with pytest.raises(DataError, match=r"noisy\.csv"):
        project_state(read_project(folder / "inlay.yaml"))


def test_data_of_other_rows_but_the_same_number_are_stale(folder):
    tiny.write_csv(folder / "topics.csv", tiny.rows(60, seed=9))
    assert state_of(folder).state == "stale"


def test_where_the_command_is_given_makes_no_difference(folder, monkeypatch):
    monkeypatch.chdir(folder)
    here = [run.folder.resolve() for run in state_of(Path()).runs]
    monkeypatch.chdir(folder.parent)
    assert [run.folder.resolve() for run in state_of(Path("project")).runs] == here
    assert state_of(Path("project")).state == "fresh"


def test_a_project_may_move_with_its_base(folder, tmp_path):
    base = Path(read_project(folder / "inlay.yaml").tasks["topics"].settings["base"])
    shutil.copytree(base, folder / "base")
    edit(folder, f"base: {base}", "base: base")
    before = [run.folder.name for run in state_of(folder).runs]
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert [run.folder.name for run in state_of(Path(moved)).runs] == before
