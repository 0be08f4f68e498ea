"""`inlay depth`: its table and its JSON."""

import json
from pathlib import Path
from types import SimpleNamespace

from inlay.cli.depth import text_of
from inlay.errors import TrainingError
from inlay.training.depth import AtDepth, Depth
from inlay.training.trial import Trained


def test_table_and_then_json_from_the_same_runs(search, capsys):
    assert search("depth") == 0
    lines = capsys.readouterr()[0].splitlines()
    assert lines[0].split()[:3] == ["layers", "blocks", "validation"]
    assert [line.split()[:2] for line in lines[1:3]] == [["upper", "1"], ["all", "2"]]
    assert sum("*" in line or "★" in line for line in lines[1:3]) == 1
    text = "\n".join(lines)
    assert "the fewest blocks within a standard error of the best" in text
    assert "next    inlay show" in text
    assert search("depth", "--json") == 0
    found = json.loads(capsys.readouterr()[0])
    assert (found["metric"], len(found["depths"])) == ("accuracy", 2)
    assert found["recommended"] in ("upper", "all")


def test_mistakes(search, capsys):
    assert search("depth", "--set", "layers=upper") == 2
    assert "layers='upper' is what is searched" in capsys.readouterr()[1]


def test_a_depth_that_failed_stays_in_the_table():
    run = SimpleNamespace(
        metrics={"test": {"metric": "accuracy", "accuracy": 0.5}}, folder="runs/a"
    )
    whole = Trained(number=0, settings={}, score=0.75, folder=Path("runs/a"), _run=[run])
    failed = Trained(number=1, settings={}, state="failed", error=TrainingError("no number"))
    tried = (
        AtDepth(layers="-1", num_blocks=1, trained=(failed,)),
        AtDepth(layers="all", num_blocks=2, trained=(whole,)),
    )
    lines = text_of(Depth(tried=tried, metric="accuracy", folder=Path("runs"))).splitlines()
    assert lines[1].split() == ["-1", "1", "-", "0.0", "0", "failed"]
    assert "test    accuracy 50.0 % (of runs/a)" in lines
