"""The run's folder: its settings, its digest, and which folder a command takes."""

import dataclasses
import json
import re

import pytest

from inlay.data.rows import Dataset, Example, FileRecord
from inlay.errors import RunError
from inlay.training.claim import Claim
from inlay.training.config import TrainConfig, resolve_config
from inlay.training.run_folder import (
    RunFolder,
    choose_folder,
    claim_folder,
    environment,
    run_digest,
    versions,
)


def dataset(sha="a" * 64, name="my data"):
    record = FileRecord(
        path="a.csv", sha256=sha, rows_read=3, rows_used=3, rows_rejected=0, encoding="utf-8",
        separator=",",
    )  # fmt: skip
    return Dataset(
        name=name, splits={}, labels=[], columns={}, files=[record], rejected=[], notes=[],
        made_splits=True,
    )  # fmt: skip


def begin(folder, **settings):
    """Write the settings of a run, as a training does first of all."""
    resolved = resolve_config({"data": "a.csv", **settings})
    folder.write_config(resolved, run_digest(resolved.config, dataset()))
    return resolved.config


def choose(config, data=None, *, force=False):
    """Choose a folder and give it back at once, so that the next one may have it."""
    folder, goes_on, claim = choose_folder(config, data or dataset(), force=force)
    (folder.path / ".kept").touch()
    claim.release()
    (folder.path / ".kept").unlink()
    return folder, goes_on


def finish(folder):
    folder.write_json("metrics.json", {"accuracy": 0.5})


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def test_settings_come_back_as_they_were(folder):
    given = {
        "data": "7e3", "learning_rate": 1e-5, "label_map": {"a: b": "ä # 'c'"}, "out": "1e-3",
        "text_column": "yes", "label_column": "null", "task": None, "at": "attention, ffn",
        "max_length": 12, "drop_unseen_labels": True, "base": "café",
    }  # fmt: skip
    resolved = resolve_config(given)
    folder.write_config(resolved, "abc123")
    again = folder.read_config().config
    assert again == resolved.config
    assert again.text_column == "yes"
    assert folder.digest() == "abc123"


def test_each_setting_says_where_it_came_from(folder):
    begin(folder, epochs=7)
    lines = (folder.path / "config.yaml").read_text(encoding="utf-8").splitlines()
    assert "epochs: 7  # flag" in lines
    assert "seed: 1  # default" in lines
    assert len(lines) == 2 + len(TrainConfig.model_fields)


def test_digest_changes_with_settings_and_data_alone():
    config = TrainConfig(data="a.csv")
    first = run_digest(config, dataset())
    assert re.fullmatch("[0-9a-f]{16}", first)
    same = config.model_copy(update={"out": "elsewhere", "checkpoint_seconds": 1.0})
    assert run_digest(same, dataset()) == first
    others = [
        run_digest(config.model_copy(update={"seed": 2}), dataset()),
        run_digest(config.model_copy(update={"label_map": {"a": "b"}}), dataset()),
        run_digest(config, dataset(sha="b" * 64)),
    ]
    assert len({first, *others}) == 4


def test_a_new_folder_is_named_after_the_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(data="a.csv")
    first, goes_on = choose(config, dataset(name="a/b c"))
    assert re.fullmatch(r"runs/a-b-c-\d{4}-\d{4}", str(first.path))
    assert not goes_on
    second, _ = choose(config, dataset(name="a/b c"))
    assert second.path != first.path
    nameless, _ = choose(config, dataset(name="../"))
    assert nameless.path.parent == first.path.parent
    assert nameless.path.name.startswith("run-")


def test_runs_that_start_together_get_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = [
        choose_folder(TrainConfig(data="a.csv", seed=seed), dataset(), force=False)
        for seed in (1, 2, 2)
    ]
    assert len({folder.path for folder, _, _ in chosen}) == 3
    for folder, goes_on, claim in chosen:
        assert not goes_on
        claim.release()
        assert not folder.path.exists(), "nothing was written, so nothing stays"


def test_a_run_in_another_process_is_left_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    running = RunFolder(tmp_path / "runs" / "one")
    config = begin(running)
    claim = Claim.take(running.path)
    assert claim is not None
    mine, goes_on = choose(config)
    assert not goes_on
    assert mine.path.name != "one"
    named = TrainConfig(data="a.csv", out=str(running.path))
    message = rf"^{running.path} is being written by another process; wait for it, stop it, or ch"
    for force in (False, True):
        with pytest.raises(RunError, match=message):
            choose(named, force=force)
    with pytest.raises(RunError, match=message):
        claim_folder(running)
    claim.release()
    found, goes_on = choose(config)
    assert (found.path.name, goes_on) == ("one", True)


def test_a_refused_folder_is_not_held(folder):
    config = begin(folder, out=str(folder.path))
    finish(folder)
    for _ in range(2):
        with pytest.raises(RunError, match="holds a finished run"):
            choose(config)
    claim_folder(folder).release()


def test_an_unfinished_run_of_the_same_kind_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("one", 1), ("two", 2), ("three", 3)):
        begin(RunFolder(tmp_path / "runs" / name), seed=seed)
    finish(RunFolder(tmp_path / "runs" / "three"))
    found, goes_on = choose(TrainConfig(data="a.csv", seed=2))
    assert (str(found.path), goes_on) == ("runs/two", True)
    for other in (TrainConfig(data="a.csv", seed=3), TrainConfig(data="a.csv", seed=4)):
        found, goes_on = choose(other)
        assert not goes_on
        assert found.path.name not in ("one", "two", "three")


@pytest.mark.parametrize("content", [None, [], [".config.yaml.ab_1cd2e"]])
def test_an_empty_folder_is_taken(folder, content):
    """What a process that was killed right at the start leaves behind does not count."""
    if content is not None:
        folder.path.mkdir()
        for name in content:
            (folder.path / name).write_text("half")
    config = TrainConfig(data="a.csv", out=str(folder.path))
    found, goes_on = choose(config)
    assert (found.path, goes_on) == (folder.path, False)


def test_leftovers_are_removed_and_nothing_else(folder):
    folder.path.mkdir()
    ours = [".config.yaml.ab_1cd2e", ".metrics.json.abcdefgh"]
    others = [".config.yaml.swp", ".gitignore", "config.yaml", ".other.abcdefgh"]
    for name in [*ours, *others]:
        (folder.path / name).write_text("x")
    (folder.path / ".adapter.abcdefgh.old").mkdir()
    (folder.path / ".adapter.abcdefgh.old" / "adapter.json").write_text("x")
    folder.remove_leftovers()
    assert {path.name for path in folder.path.iterdir()} == set(others)


def test_a_folder_that_goes_on(folder):
    config = begin(folder, out=str(folder.path))
    found, goes_on = choose(config)
    assert (found.path, goes_on) == (folder.path, True)


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_holds_no_run_is_refused_even_by_force(folder, force):
    folder.path.mkdir()
    (folder.path / "thesis.txt").write_text("mine")
    config = TrainConfig(data="a.csv", out=str(folder.path))
    message = rf"^{folder.path} exists and holds no run; choose another --out\.$"
    with pytest.raises(RunError, match=message):
        choose(config, force=force)
    assert (folder.path / "thesis.txt").read_text() == "mine"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("mine")
    config = TrainConfig(data="a.csv", out=str(tmp_path / "run"))
    with pytest.raises(RunError, match=r"run exists and holds no run; choose another --out\.$"):
        choose(config, force=True)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_finished_run_is_refused_and_replaced_by_force(folder):
    config = begin(folder, out=str(folder.path))
    finish(folder)
    (folder.path / "adapter").mkdir()
    (folder.path / "adapter" / "adapter.json").write_text("{}")
    (folder.path / "notes.txt").write_text("mine")
    message = (
        rf"^{folder.path} holds a finished run; choose another --out, or use --force to replace it"
    )
    with pytest.raises(RunError, match=message):
        choose(config)
    assert folder.is_finished
    found, goes_on = choose(config, force=True)
    assert not goes_on
    assert [path.name for path in found.path.iterdir()] == ["notes.txt"]


def test_an_unfinished_run_of_another_kind(folder):
    begin(folder)
    config = TrainConfig(data="a.csv", seed=2, out=str(folder.path))
    message = (
        rf"^{folder.path} holds an unfinished run with other settings or data\. Go on with it: "
        rf"inlay resume {folder.path}; or use --force to replace it\.$"
    )
    with pytest.raises(RunError, match=message):
        choose(config)
    _, goes_on = choose(config, force=True)
    assert not goes_on
    assert folder.digest() is None


def test_json_comes_back_and_faults_are_named(folder):
    content = {"ä": [1, 2.5, None], "b": "\u2603"}
    folder.write_json("data.json", content)
    assert folder.read_json("data.json") == content
    assert "\u2603" in (folder.path / "data.json").read_text(encoding="utf-8")
    with pytest.raises(RunError, match=r"run has no metrics.json: no run's folder, or not finish"):
        folder.read_json("metrics.json")
    (folder.path / "metrics.json").write_text("{")
    with pytest.raises(RunError, match=r"metrics\.json is damaged: Expecting property name"):
        folder.read_json("metrics.json")


def test_no_settings_no_run(folder):
    assert folder.digest() is None
    with pytest.raises(RunError, match=r"run is no run's folder: it has no config\.yaml\."):
        folder.read_config()


def test_the_log_grows_line_by_line(folder):
    folder.path.mkdir()
    folder.append_log(event="note", text="ä")
    folder.append_log(event="end")
    lines = (folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["note", "end"]
    assert json.loads(lines[0])["text"] == "ä"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-].*", json.loads(lines[1])["time"])


def test_environment_names_versions():
    import torch

    found = environment("cpu")
    assert found["device"] == "cpu"
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert json.loads(json.dumps(found)) == found
    assert {"python", "inlay", "transformers", "platform", "cores"} <= set(found)
    assert versions().items() <= found.items()


def test_digest_tells_which_rows_are_in_which_split():
    config = TrainConfig(data="a.csv")
    rows = [Example(f"text {number}", None, "a", "x.csv", number) for number in range(6)]
    splits = {"train": rows[:4], "validation": rows[4:5], "test": rows[5:]}
    moved = {"train": rows[:4], "validation": rows[5:], "test": rows[4:5]}
    found = [run_digest(config, dataclasses.replace(dataset(), splits=s)) for s in (splits, moved)]
    assert found[0] != found[1]
    again = {name: [row._replace(file="y.csv") for row in own] for name, own in splits.items()}
    assert run_digest(config, dataclasses.replace(dataset(), splits=again)) == found[0]
    other = {**splits, "test": [rows[5]._replace(parts={"tags": ["O"]})]}
    assert run_digest(config, dataclasses.replace(dataset(), splits=other)) != found[0]
