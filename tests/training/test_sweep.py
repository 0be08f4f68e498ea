"""A search over settings: what is tried, what is found, and what is refused."""

import json

import pytest

import inlay
from inlay.errors import ConfigError, TrainingError
from inlay.training import trial as trial_module
from inlay.training.sweep import values_of, with_values
from tests import tiny

pytestmark = pytest.mark.usefixtures("no_reload")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4,8,16", [4, 8, 16]),
        ("1e-4, 0.5", [1e-4, 0.5]),
        ("linear,cosine", ["linear", "cosine"]),
        ("true", [True]),
        ("log:1e-4..1e-1", [1e-4, 1e-3, 1e-2, 1e-1]),
        ("log:0.001..0.1:3", [0.001, 0.01, 0.1]),
        ("lin:0..0.2:3", [0.0, 0.1, 0.2]),
    ],
)
def test_values(text, expected):
    assert values_of("x", text) == expected


@pytest.mark.parametrize(
    "text", ["", ",", "log:0..1", "lin:2..1", "log:1", "lin:0..1:1", "log:a..b", "log:1e-4-3e-3"]
)
def test_values_that_cannot_be_read(text):
    with pytest.raises(ConfigError, match=r"^x=.*(no value to try|a range is|must be below)"):
        values_of("x", text)


def test_settings_of_the_method_go_into_its_brackets():
    assert with_values({}, {"reduction": 4}) == {"method": "bottleneck[reduction=4]"}
    given = with_values({"method": "lora[alpha=8]"}, {"rank": 2, "epochs": 3})
    assert given == {"method": "lora[alpha=8,rank=2]", "epochs": 3}
    with pytest.raises(ConfigError, match="'reductoin' is no setting .* Did you mean 'reduction'"):
        with_values({}, {"reductoin": 4})
    with pytest.raises(ConfigError, match="seed cannot be searched"):
        with_values({}, {"seed": 4})


def sweep(root, parameters, **settings):
    given = {"base": str(tiny.shared_base(root)), **tiny.SETTINGS, **settings}
    return inlay.sweep(tiny.shared_data(root), parameters, **given)


def test_the_best_by_validation_is_finished(root, tmp_path):
    found = sweep(
        root, {"learning_rate": [1e-6, 2e-2], "reduction": "4,8"}, seeds=2, epochs=2,
        out=tmp_path / "out", learning_rate=None,
    )  # fmt: skip
    assert len(found.points) == 4
    assert [point.settings["learning_rate"] for point in found.points] == [2e-2, 2e-2, 1e-6, 1e-6]
    means = [point.mean for point in found.points]
    assert means == sorted(means, reverse=True)
    first = found.points[0]
    assert first.mean == pytest.approx(sum(one.score for one in first.trained) / 2)
    assert [one.settings["seed"] for one in first.trained] == [1, 2]
    assert found.best.metrics["learning_rate"] == 2e-2
    assert found.best.metrics["test"]["accuracy"] > 0.4
    states = [one.state for point in found.points for one in point.trained]
    assert states.count("finished") == 1
    written = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert [point["mean"] for point in written["points"]] == means
    assert written["metric"] == "accuracy"


def test_the_same_call_again_goes_on(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = sweep(root, {"weight_decay": "0,0.1"}, epochs=1)
    assert first.folder.parent.name == "runs"
    again = sweep(root, {"weight_decay": "0,0.1"}, epochs=1)
    assert again.folder == first.folder
    assert [p.scores for p in again.points] == [p.scores for p in first.points]


def test_at_one_rung_the_better_comes_first_though_others_had_more_steps(
    root, tmp_path, monkeypatch
):
    monkeypatch.setattr(trial_module, "_LEAST_STEPS", 2)
    found = sweep(
        root, {"batch_size": "16,7,9", "learning_rate": [2e-2, 1e-7]}, epochs=1, halving=2,
        out=tmp_path / "out", learning_rate=None,
    )  # fmt: skip
    order = [(-point.rung, -point.mean) for point in found.points]
    assert order == sorted(order)
    first = [point.epochs for point in found.points if point.rung == 1]
    assert len(set(first)) > 1, "batches of other sizes end a rung elsewhere"


def test_some_are_drawn_and_one_that_fails_is_told(root, tmp_path):
    drawn = sweep(
        root, {"weight_decay": "0,0.1,0.2,0.3", "warmup": "0,0.1"}, trials=2, epochs=1,
        out=tmp_path / "drawn",
    )  # fmt: skip
    assert len(drawn.points) == 2
    failed = sweep(
        root, {"max_grad_norm": "1e30"}, epochs=1, out=tmp_path / "bad", optimizer="sgd",
        learning_rate=1e30,
    )  # fmt: skip
    assert failed.points[0].trained[0].state == "failed"
    with pytest.raises(TrainingError, match="Lower the learning rate"):
        failed.best  # noqa: B018


@pytest.mark.parametrize(
    ("parameters", "settings", "reason"),
    [
        ({}, {}, "name what to search"),
        ({"epochs": "1"}, {"seeds": 0}, "both are at least 1"),
        ({"epochs": "1"}, {"trials": 0}, "both are at least 1"),
        ({"nonsense": "1"}, {}, "is no setting of a training"),
        ({"learning_rate": "-1"}, {}, "learning_rate=-1"),
    ],
)
def test_what_is_refused(root, tmp_path, parameters, settings, reason):
    with pytest.raises(ConfigError, match=reason):
        sweep(root, parameters, out=tmp_path / "out", **settings)
    assert not list(tmp_path.rglob("*.safetensors"))
