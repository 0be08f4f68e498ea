"""What searches have in common."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from inlay.errors import TrainingError
from inlay.training.search import AbstractTried, folder_for, metric_of
from inlay.training.trial import Trained


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tried(AbstractTried):
    def about(self) -> dict[str, Any]:
        return {"what": "it"}


def trained(score, **other):
    return Trained(number=0, settings={}, score=score, folder=Path("runs/a"), **other)


def test_seeds_are_taken_together():
    tried = Tried(trained=(trained(0.5), trained(0.25, state="stopped")))
    assert (tried.is_whole, tried.scores, tried.mean) == (True, [0.5, 0.25], 0.375)
    assert tried.record() == {
        "what": "it", "mean": 0.375, "scores": [0.5, 0.25], "states": ["finished", "stopped"],
        "errors": [], "runs": ["runs/a", "runs/a"],
    }  # fmt: skip


def test_one_that_failed_leaves_no_mean_and_is_not_whole():
    error = TrainingError("no number")
    some = Tried(trained=(trained(0.5), trained(0.9, state="failed", error=error)))
    assert not some.is_whole
    assert some.record()["errors"] == ["no number"]
    none = Tried(trained=(trained(None, state="failed", error=error),))
    assert (none.is_whole, none.mean, none.record()["mean"]) == (False, float("-inf"), None)


def test_the_metric_of_the_first_that_has_one():
    assert metric_of([trained(None), trained(1.0, metric="f1")]) == "f1"
    assert metric_of([trained(None)]) == ""


def test_a_folder_is_found_again_and_others_are_others():
    one = folder_for("depth", "data/topics.csv", [1, {"epochs": 2}])
    assert one == folder_for("depth", Path("data/topics.csv"), [1, {"epochs": 2}])
    assert (one.parent, one.name[:13]) == (Path("runs"), "depth-topics-")
    others = [("sweep", "data/topics.csv", [1, {"epochs": 2}]), ("depth", "topics.csv", [1, {}])]
    assert len({one, *(folder_for(*other) for other in others)}) == 3


def test_it_is_no_use_without_saying_what_was_tried():
    with pytest.raises(TypeError, match="abstract method"):
        AbstractTried(trained=())
