"""Training what is not fresh, comparing it with what is promoted, and promoting it."""

import json
import os
import signal

import pytest

from inlay.cli.main import main
from inlay.errors import ConfigError, DataError, RunError, TrainingError
from inlay.evaluation.compare import compare
from inlay.project.config import read_project
from inlay.project.state import task_state
from inlay.project.work import (
    GateError,
    compare_with_promoted,
    promote,
    promoted_folders,
    read_promoted,
    run_project,
)
from inlay.training import finish as finish_module
from inlay.training import shelf as shelf_module
from inlay.training.interrupt import Interrupted
from inlay.training.reporter import SilentReporter


def times(folder):
    """Return the time of each file of the runs."""
    return {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("*") if p.is_file()}


def edit(folder, old, new):
    path = folder / "inlay.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return read_project(path)


def best_of(project):
    return task_state(project, project.task("topics")).best


class Listener(SilentReporter):
    """Keeps what was noted; may ask to stop when a note comes."""

    def __init__(self, stop_at="no note"):
        self.notes, self.stop_at = [], stop_at

    def on_note(self, text):
        self.notes.append(text)
        if text.startswith(self.stop_at):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_is_fresh_is_not_touched(project, folder):
    before = times(folder)
    assert run_project(project, ["topics"]) == []
    assert times(folder) == before
    assert any(path.name == "metrics.json" for path in before)


def test_only_the_new_seed_is_trained_and_told_of(folder):
    project = edit(folder, "seeds: [1, 2]", "seeds: [1, 2, 5]")
    before, told = times(folder), []
    tell = lambda state, run: told.append((state.task.name, run.seed, run.state))  # noqa: E731
    (done,) = run_project(project, ["topics"], on_task=tell)
    assert told == [("topics", 5, "new")]
    assert (done.config.seed, done.config.method, done.config.epochs) == (5, "head", 1)
    after = times(folder)
    assert {path: after[path] for path in before} == before
    assert task_state(project, project.task("topics")).state == "fresh"


def test_all_tasks_are_trained_if_none_is_named(folder):
    project = edit(folder, "seeds: [1, 2]", "seeds: [2]")
    (done,) = run_project(project)
    assert done.folder.parent == folder / "runs" / "noisy"
    assert run_project(project) == []


def test_a_task_that_fails_fails_alone_and_the_base_is_loaded_once(folder, monkeypatch):
    project = edit(
        folder,
        "  topics: {data: topics.csv",
        "  bad: {data: none.csv}\n  topics: {data: topics.csv",
    )
    project = edit(folder, "seeds: [1, 2]", "seeds: [7]")
    loaded, listener = [], Listener()
    real = shelf_module.load_base
    monkeypatch.setattr(
        shelf_module, "load_base", lambda *a, **given: loaded.append(a) or real(*a, **given)
    )
    with pytest.raises(DataError, match=r"none\.csv"):
        run_project(project, reporter=listener)
    assert any(note.startswith("task 'bad' failed: ") for note in listener.notes)
    assert task_state(project, project.task("topics")).state == "fresh"
    assert task_state(project, project.task("noisy")).state == "fresh"
    assert len(loaded) == 1


def test_a_seed_that_fails_fails_alone_with_what_is_above_it(folder, monkeypatch):
    text = (folder / "inlay.yaml").read_text(encoding="utf-8")
    text = text.replace("method: head", "method: lora")
    text = text.replace("{data: noisy.csv}", "{data: noisy.csv, stack_on: topics}")
    (folder / "inlay.yaml").write_text(text, encoding="utf-8")
    project = read_project(folder / "inlay.yaml")

    def check(adapter, *given):
        if adapter.parent.name.endswith("-seed1"):
            raise TrainingError("answers differently")
        return {"rows": 0}

    monkeypatch.setattr(finish_module, "check_reload", check)
    listener = Listener()
    with pytest.raises(TrainingError, match="answers differently"):
        run_project(project, reporter=listener)
    failed = [note for note in listener.notes if " failed: " in note]
    assert failed[0] == "task 'topics', seed 1 failed: answers differently"
    assert failed[1].startswith("task 'noisy', seed 1 failed: ")
    assert len(failed) == 2
    for task in project.tasks.values():
        first, second = task_state(project, task).runs
        assert (first.state == "fresh", second.state) == (False, "fresh")
    monkeypatch.setattr(finish_module, "check_reload", lambda *given: {"rows": 0})
    assert [run.config.seed for run in run_project(project)] == [1, 1]


def test_what_is_asked_to_stop_while_it_measures_ends_that_run_and_begins_no_other(
    folder, monkeypatch
):
    monkeypatch.setattr(finish_module, "check_reload", lambda *given: {"rows": 0})
    project = read_project(folder / "inlay.yaml")
    message = "stopped before task 'noisy', seed 2; all that is left: inlay run"
    with pytest.raises(Interrupted, match=message) as caught:
        run_project(project, reporter=Listener("measuring"))
    assert caught.value.exit_code == 130
    first, second = task_state(project, project.task("noisy")).runs
    assert (first.state, second.state) == ("fresh", "new")
    (done,) = run_project(project)
    assert done.config.seed == 2


def test_an_interrupted_run_says_how_all_goes_on(folder):
    project = read_project(folder / "inlay.yaml")

    class Stopping(SilentReporter):
        def on_step(self, step, num_steps, loss):
            os.kill(os.getpid(), signal.SIGTERM)

    message = "saved at step 1; .*inlay resume .*; all that is left: inlay run"
    with pytest.raises(Interrupted, match=message) as caught:
        run_project(project, reporter=Stopping())
    assert caught.value.exit_code == 143
    assert [run.state for run in task_state(project, project.task("noisy")).runs] == [
        "unfinished", "new",
    ]  # fmt: skip
    assert [run.config.seed for run in run_project(project)] == [1, 2]


def test_an_unknown_task_is_refused(project):
    for act in (promote, compare_with_promoted):
        with pytest.raises(ConfigError, match="has no task 'topic'"):
            act(project, "topic")
    with pytest.raises(ConfigError, match="has no task 'topic'"):
        run_project(project, ["topic"])


def test_the_best_run_is_promoted_once_and_a_better_one_as_the_next_version(project, folder):
    assert read_promoted(project) == {}
    best = best_of(project)
    entry = promote(project, "topics")
    accuracy = best.metrics["test"]["accuracy"]
    expected = {"version": 1, "run": f"topics/{best.folder.name}", "metric": "accuracy"}
    expected |= {"score": accuracy, "seed": best.seed, "gate": 0.0, "forced": False}
    assert {key: entry[key] for key in expected} == expected
    assert promote(project, "topics") == entry
    assert read_promoted(project) == {"topics": entry}
    assert promoted_folders(project) == {"topics": best.folder}

    path = best.folder / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    metrics["validation"]["accuracy"] = -1.0  # now the other seed is the best one
    path.write_text(json.dumps(metrics), encoding="utf-8")
    second = promote(project, "topics")
    assert (second["version"], second["seed"]) == (2, 3 - best.seed)


def test_a_gate_that_is_missed_stops_a_promotion_unless_forced(folder):
    project = edit(folder, "gate: 0.0", "gate: 1.01")
    with pytest.raises(GateError, match=r"accuracy is .*its gate is 1\.01.*--force") as error:
        promote(project, "topics")
    assert error.value.exit_code == 4
    assert read_promoted(project) == {}
    assert promote(project, "topics", force=True)["forced"] is True


def test_a_score_that_equals_the_gate_reaches_it(project, folder):
    score = best_of(project).metrics["test"]["accuracy"]
    project = edit(folder, "gate: 0.0", f"gate: {score!r}")
    assert promote(project, "topics")["gate"] == score


def test_perplexity_is_to_be_below_the_gate(project, folder):
    for run in task_state(project, project.task("topics")).runs:
        path = run.folder / "metrics.json"
        metrics = json.loads(path.read_text(encoding="utf-8"))
        metrics["headline"]["form"] = "perplexity"
        for split in ("validation", "test"):
            metrics[split] |= {"metric": "perplexity", "perplexity": 8.5}
        path.write_text(json.dumps(metrics), encoding="utf-8")
    with pytest.raises(GateError, match=r"perplexity is 8\.5, and its gate is 8\.4"):
        promote(edit(folder, "gate: 0.0", "gate: 8.4"), "topics")
    assert promote(edit(folder, "gate: 8.4", "gate: 8.6"), "topics")["score"] == 8.5


def test_a_force_that_was_not_needed_is_not_recorded(project):
    assert promote(project, "topics", force=True)["forced"] is False


def test_a_task_without_a_fresh_run_is_not_promoted(project):
    with pytest.raises(RunError, match="task 'noisy' has no fresh run: inlay run noisy"):
        promote(project, "noisy")
    assert read_promoted(project) == {}


def test_a_retrained_task_is_compared_with_what_is_promoted(project, folder):
    with pytest.raises(RunError, match="no promoted run yet: inlay promote topics"):
        compare_with_promoted(project, "topics")
    promote(project, "topics")
    old = best_of(project).folder
    project = edit(folder, "learning_rate: 0.02", "learning_rate: 0.2")
    with pytest.raises(RunError, match="no fresh run"):
        compare_with_promoted(project, "topics")
    assert len(run_project(project, ["topics"])) == 2
    new = best_of(project).folder
    assert new != old
    found = compare_with_promoted(project, "topics")
    assert [one.run for one in found] == [str(old), str(new)]
    assert found == compare(old, new)
    assert found[1].difference.mean == pytest.approx(found[1].value - found[0].value)
    assert promote(project, "topics")["version"] == 2


@pytest.mark.parametrize("content", ["{", "[1]", '{"topics": 3}', '{"topics": {"run": "x"}}'])
def test_a_damaged_record_of_promotions_is_named(project, content):
    (project.runs / "promoted.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=r"promoted\.json is damaged"):
        read_promoted(project)


def test_a_missed_gate_is_exit_code_4_of_the_program(folder, capsys):
    edit(folder, "gate: 0.0", "gate: 1.01")
    assert main(["promote", "topics", "-p", str(folder / "inlay.yaml")]) == 4
    assert "its gate is 1.01" in capsys.readouterr().err


def test_a_task_above_another_is_trained_after_it_and_follows_it(folder, monkeypatch):
    monkeypatch.setattr(finish_module, "check_reload", lambda *given: {"rows": 0})
    text = (folder / "inlay.yaml").read_text(encoding="utf-8")
    text = text.replace("method: head", "method: lora").replace("seeds: [1, 2]", "seeds: [1]")
    text = text.replace("{data: noisy.csv}", "{data: noisy.csv, stack_on: topics}")
    (folder / "inlay.yaml").write_text(text, encoding="utf-8")
    project = read_project(folder / "inlay.yaml")
    below, above = run_project(project, ["noisy"])
    assert below.folder.parent.name == "topics"
    assert above.metrics["stack_on"] == str(below.folder)
    assert [task_state(project, t).state for t in project.tasks.values()] == ["fresh", "fresh"]
    text = text.replace("{data: topics.csv", "{data: topics.csv, epochs: 2")
    (folder / "inlay.yaml").write_text(text, encoding="utf-8")
    changed = read_project(folder / "inlay.yaml")
    assert [task_state(changed, t).state for t in changed.tasks.values()] == ["stale", "stale"]
