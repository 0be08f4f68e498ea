import json

import pytest

from inlay.cli.blend import parse_weights
from inlay.errors import ConfigError


def test_two_runs_become_one_that_evaluates_and_predicts(call, run, base, tmp_path):
    """The same run twice, under two paths: their mean is that run again."""
    other = tmp_path / "other"
    other.symlink_to(run)
    out = tmp_path / "new"
    arguments = ["--weights", "0.6,0.4", "--out", out, "--base", base]
    code, screen, err = call("blend", run, other, *arguments)
    assert code == 0
    assert screen.splitlines()[:4] == [
        "blend    linear", f"         0.6 x {run}", f"         0.4 x {other}", "heads    the same"
    ]  # fmt: skip
    assert f"next     inlay evaluate {out}" in screen
    assert "nothing was measured" in err
    code, report, _ = call("evaluate", out, "--json")
    metrics = json.loads((run / "metrics.json").read_text())
    assert json.loads(report)["accuracy"] == pytest.approx(metrics["test"]["accuracy"], abs=0.05)
    assert call("predict", out, "my visa card")[0] == 0
    shown = " ".join(call("show", out)[1].split())
    assert f"blend linear: 0.6 x {run} + 0.4 x {other}" in shown
    code, _, err = call("blend", run, other, *arguments)
    assert (code, err) == (2, f"inlay: {out} exists; choose another --out, or use --force.\n")
    code, screen, _ = call(
        "blend", run, other, *arguments, "--force", "--heads", "average", "--json"
    )
    told = json.loads(screen)
    assert (told["name"], told["method"], told["heads"]) == ("new", "linear", "averaged")
    assert told["weights"] == {str(run): 0.6, str(other): 0.4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "0.6"], "1 weight for 2 runs; give one for each"),
        (["--weights", "0.6,x"], "'x' is no number"),
        (["--method", "tie"], "Did you mean 'ties'?"),
        (["--method", "ties", "--density", "0.3"], "origin=NAME"),
        (["--head-of", "else"], "head_of='else' is none of the adapters"),
    ],
)
def test_mistakes(call, run, tmp_path, arguments, message):
    other = tmp_path / "other"
    other.symlink_to(run)
    code, out, err = call("blend", run, other, "--out", tmp_path / "new", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "new").exists()


def test_a_run_is_never_written_over(call, run, tmp_path):
    before = (run / "adapter" / "adapter.json").read_bytes()
    for out in (run, run / "adapter"):
        code, _, err = call("blend", run, "--out", out, "--force")
        assert (code, "is one of the runs" in err) == (2, True)
    code, _, err = call("blend", run, run, "--out", tmp_path / "new")
    assert (code, "is named twice" in err) == (2, True)
    assert (run / "adapter" / "adapter.json").read_bytes() == before


def test_weights():
    assert parse_weights(None, 2) is None
    assert parse_weights(" 0.6, -1e-1", 2) == [0.6, -0.1]
    with pytest.raises(ConfigError, match="3 weights for 2 runs"):
        parse_weights("1,2,3", 2)
