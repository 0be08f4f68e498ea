import json
import os
import shutil

import pytest


@pytest.fixture
def runs(run, tmp_path):
    """A folder with a finished run, an unfinished one, a damaged one, and something else."""
    for number, name in enumerate(("finished", "unfinished", "damaged")):
        shutil.copytree(run, tmp_path / name)
        os.utime(tmp_path / name / "config.yaml", (1e9 + number, 1e9 + number))
    (tmp_path / "unfinished" / "metrics.json").unlink()
    (tmp_path / "damaged" / "metrics.json").write_text("{")
    (tmp_path / "something else").mkdir()
    return tmp_path


def test_runs_the_newest_first(call, runs):
    code, out, err = call("list", runs)
    assert (code, err) == (0, "")
    header, *rows = out.splitlines()
    assert header.split() == [
        "run", "data", "base", "method", "seed", "result", "weights", "trained", "state",
    ]  # fmt: skip
    assert [row.split()[0].rpartition("/")[2] for row in rows] == [
        "damaged", "unfinished", "finished",
    ]  # fmt: skip
    assert [row.split()[-1] for row in rows] == ["damaged", "unfinished", "finished"]
    assert "%" in rows[2]
    assert "%" not in rows[1]


def test_json(call, runs):
    rows = json.loads(call("list", runs, "--json")[1])
    metrics = json.loads((runs / "finished" / "metrics.json").read_text())
    assert (rows[2]["metric"], rows[2]["result"]) == ("accuracy", metrics["test"]["accuracy"])
    assert rows[2]["method"] == "bottleneck"
    assert rows[0]["state"] == "damaged"
    assert "metrics.json is damaged" in rows[0]["problem"]


def test_one_run_lists_itself(call, run):
    assert len(call("list", run)[1].splitlines()) == 2


def test_no_runs_yet(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("list")[:2] == (0, "no runs in runs; the first one: inlay train yourfile.csv\n")


def test_no_such_folder(call, tmp_path):
    code, _, err = call("list", tmp_path / "nowhere")
    assert code == 2
    assert err.endswith("nowhere is no folder; give one that holds runs.\n")
