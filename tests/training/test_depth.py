"""The same adapter over more and fewer blocks: what is tried, advised and refused."""

import json
from pathlib import Path

import pytest

import inlay
from inlay.errors import ConfigError, TrainingError
from inlay.training.depth import AtDepth, Depth
from inlay.training.replay import TrunkReplay
from inlay.training.trial import Trained
from tests import tiny

pytestmark = pytest.mark.usefixtures("no_reload")


def depth(root, **settings):
    given = {"base": str(tiny.shared_base(root)), **tiny.SETTINGS, "epochs": 1, **settings}
    return inlay.depth(tiny.shared_data(root), **given)


def test_every_depth_is_trained_and_one_is_measured(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = depth(root, seeds=2)
    assert [(one.layers, one.num_blocks) for one in found.tried] == [("upper", 1), ("all", 2)]
    assert [one.trained[1].settings["seed"] for one in found.tried] == [2, 2]
    few, every = found.tried
    assert 0 < few.num_adapter_parameters < every.num_adapter_parameters
    for one in found.tried:
        low, high = one.interval
        assert low <= one.mean <= high
        assert one.trained[0].report["n"] > 0
    run = found.recommended.trained[0].run
    assert "accuracy" in run.metrics["test"]
    states = [one.state for at in found.tried for one in at.trained]
    assert sorted(states) == ["finished", "stopped", "stopped", "stopped"]
    written = json.loads((found.folder / "depth.json").read_text())
    assert written["recommended"] == found.recommended.layers
    again = depth(root, seeds=2)
    assert again.folder == found.folder
    assert [one.scores for one in again.tried] == [one.scores for one in found.tried]


def test_one_pass_over_the_trunk_serves_all_depths(root, tmp_path, monkeypatch):
    opened = []
    real = TrunkReplay.__init__

    def init(self, *args, **kwargs):
        opened.append(self)
        real(self, *args, **kwargs)

    monkeypatch.setattr(TrunkReplay, "__init__", init)
    monkeypatch.setattr("inlay.training.replay.VERIFIED", 0)
    monkeypatch.setattr("inlay.training.depth.DEPTHS", ("-2--1", "-1"))
    base = tiny.write_base(tmp_path / "base", num_blocks=3)
    depth(root, base=str(base), out=tmp_path / "out")
    high, low = opened
    assert set(low.replay.modules) < set(high.replay.modules)
    rows = len(high.stores[0])
    assert high.num_computed == rows
    assert len(low.stores[0]) == rows
    assert low.num_computed <= 16, "only one batch, which tells how the blocks answer"


def at(layers, num_blocks, score, interval=(0.0, 1.0), error=None):
    report = {"metric": "accuracy", "accuracy_ci": list(interval)} if interval else {}
    one = Trained(
        number=num_blocks, settings={}, score=score, report=report, error=error,
        state="failed" if error else "finished",
    )  # fmt: skip
    return AtDepth(layers=layers, num_blocks=num_blocks, trained=(one,))


def advised(*tried):
    return Depth(tried=tried, metric="accuracy", folder=Path()).recommended.layers


def test_the_fewest_blocks_within_a_standard_error_are_advised():
    narrow = (0.89, 0.89 + 2 * 1.96 * 0.02)  # a standard error of 0.02
    best = at("all", 6, 0.93, narrow)
    assert advised(at("-1", 1, 0.90), at("upper", 3, 0.915), best) == "upper"
    assert advised(at("-1", 1, 0.92), at("upper", 3, 0.915), best) == "-1"
    assert advised(at("-1", 1, 0.80), at("upper", 3, 0.85), best) == "all"
    assert advised(at("-1", 1, 0.92), at("all", 6, 0.93, None)) == "all", "no interval: the best"
    failed = TrainingError("no number")
    assert advised(at("-1", 1, 0.92, error=failed), at("upper", 3, 0.92), best) == "upper"
    with pytest.raises(TrainingError, match="no number"):
        advised(at("-1", 1, None, error=failed))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"layers": "upper"}, "layers='upper' is what is searched"),
        ({"seeds": 0}, "seeds=0; it must be at least 1"),
    ],
)
def test_what_is_refused(root, tmp_path, settings, reason):
    with pytest.raises(ConfigError, match=reason):
        depth(root, out=tmp_path / "out", **settings)
