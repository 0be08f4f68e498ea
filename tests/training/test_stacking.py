"""A new adapter above a saved one: what may be stacked, and that it is one adapter from then on."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import inlay
from inlay.errors import ConfigError, RunError
from inlay.evaluation.predictor import load_predictors
from inlay.training.interrupt import Interrupted, StopRequest
from inlay.training.many import train_many
from tests import tiny

WEIGHTS = "adapter/adapter.safetensors"


def train(root, folder, out, **settings):
    data = folder / "few.csv"
    if not data.exists():
        tiny.write_csv(data, tiny.rows(60, seed=7))
    given = {"base": str(tiny.shared_base(root)), **tiny.SETTINGS, "epochs": 1, **settings}
    return inlay.train(data, out=str(folder / out), **given)


@pytest.fixture(scope="module")
def above(tmp_path_factory):
    """A run that is stacked on the shared one, checked in a fresh process, and its folder."""
    root, folder = tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp("stacked")
    shared = tiny.shared_run(root)[0]
    return train(root, folder, "above", stack_on=str(shared.folder)), folder


@pytest.fixture
def shared(root):
    """The run below."""
    return tiny.shared_run(root)[0]


def test_only_the_new_adapter_is_trained(above, shared):
    run = above[0]
    below = load_file(run.folder / "adapter" / "below" / "adapter.safetensors")
    saved = load_file(shared.folder / WEIGHTS)
    assert {key for key in saved if key.startswith("site/")} == set(below)
    assert all(torch.equal(saved[key], value) for key, value in below.items())
    assert run.metrics["adapter_parameters"] == shared.metrics["adapter_parameters"]
    assert run.metrics["total_parameters"] == shared.metrics["total_parameters"]
    assert run.metrics["stack_on"] == str(shared.folder)


def test_it_answers_alike_in_a_fresh_process_and_wherever_it_is_copied(above, shared, tmp_path):
    run = above[0]
    assert run.metrics["reload_check"]["bitwise"] is True
    copied = shutil.copytree(run.folder / "adapter", tmp_path / "copied")
    texts = [text for text, _ in tiny.rows(20, seed=8)]
    here, there = (inlay.load_predictor(f).predict(texts) for f in
                   (run.folder, copied))  # fmt: skip
    assert here == there


def test_both_answer_on_one_base_in_any_order(above, shared):
    run = above[0]
    texts = [text for text, _ in tiny.rows(20, seed=8)]
    alone = {
        folder: inlay.load_predictor(folder).predict(texts)
        for folder in (run.folder, shared.folder)
    }
    for order in ([shared.folder, run.folder], [run.folder, shared.folder]):
        predictors = load_predictors(order)
        for folder, predictor in [*zip(order, predictors, strict=True)] * 2:
            assert predictor.predict(texts) == alone[folder]


def test_it_takes_the_base_of_what_is_below(root, above, shared, tmp_path):
    data = tiny.write_csv(tmp_path / "few.csv", tiny.rows(60, seed=7))
    run = inlay.train(
        data, stack_on=str(shared.folder), method="head", out=str(tmp_path / "head"),
        **{**tiny.SETTINGS, "epochs": 1},
    )  # fmt: skip
    assert run.metrics["base"] == str(tiny.shared_base(root))
    assert run.metrics["adapter_parameters"] == 0
    assert inlay.load_predictor(run.folder).predict(["my card"])[0].answer


def test_a_stack_of_three_keeps_all(root, above, tmp_path, no_reload):
    top = train(root, tmp_path, "top", stack_on=str(above[0].folder))
    assert (top.folder / "adapter" / "below" / "below" / "adapter.safetensors").is_file()
    assert len(top.predict(["my card"])) == 1


def test_replay_gives_the_same_as_without(root, shared, tmp_path, no_reload):
    runs = [
        train(root, tmp_path, f"replay-{on}", stack_on=str(shared.folder), replay=on, epochs=2)
        for on in (True, False)
    ]
    one, two = (load_file(run.folder / WEIGHTS) for run in runs)
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], rtol=1e-3, atol=1e-4)


def test_one_that_was_stopped_goes_on_bitwise_from_any_folder(
    root, above, shared, tmp_path, no_reload, monkeypatch
):
    stop(root, tmp_path, stack_on=str(shared.folder))
    monkeypatch.chdir(root)
    run = inlay.resume(tmp_path / "stopped")
    one, two = (load_file(r.folder / WEIGHTS) for r in (above[0], run))
    assert all(torch.equal(one[key], two[key]) for key in one)


def stop(root, folder, **settings):
    """Begin a run and stop it after its first step."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted, match="inlay resume"):
        patch.setattr(StopRequest, "is_asked", lambda self: True)
        train(root, folder, "stopped", **settings)


def test_what_is_below_must_not_change_in_between(root, shared, tmp_path, no_reload):
    below = shutil.copytree(shared.folder, tmp_path / "below")
    stop(root, tmp_path, stack_on=str(below))
    shutil.rmtree(below)
    with pytest.raises(ConfigError, match="stack_on: .*below does not exist"):
        inlay.resume(tmp_path / "stopped")
    other = train(root, tmp_path, "below", seed=2)
    assert other.folder == below
    with pytest.raises(RunError, match="the settings or the data have changed"):
        inlay.resume(tmp_path / "stopped")


def test_many_share_one_copy(root, shared, tmp_path, no_reload):
    data = tiny.write_csv(tmp_path / "few.csv", tiny.rows(60, seed=7))
    given = {
        "data": str(data), "stack_on": str(shared.folder), **tiny.SETTINGS, "epochs": 1,
        "replay": False,
    }  # fmt: skip
    done = train_many([{**given, "seed": n, "out": str(tmp_path / str(n))} for n in (1, 2)])
    alone = train(root, tmp_path, "alone", stack_on=str(shared.folder), seed=2, replay=False)
    one, two = (load_file(r.folder / WEIGHTS) for r in (done[1].run, alone))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_another_base_is_refused(root, shared, tmp_path):
    other = tiny.write_base(tmp_path / "other-base", seed=6)
    with pytest.raises(ConfigError, match="was trained on .*tiny-base.* and this run's base is .*"
                       "other-base.* Leave out base"):  # fmt: skip
        train(root, tmp_path, "out", stack_on=str(shared.folder), base=str(other))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "full"}, "method 'full' trains the base's own weights"),
        ({"method": "top:1"}, "method 'top:1' trains the base's own weights"),
        ({"stack_on": "none"}, "stack_on: none does not exist. `inlay list` shows"),
        ({"out": "SHARED"}, "a run cannot be stacked on itself"),
    ],
)
def test_what_cannot_be_stacked_is_refused_before_anything_is_read(shared, settings, message):
    given = {"stack_on": str(shared.folder), **settings}
    if given.get("out") == "SHARED":
        given["out"] = str(shared.folder)
    with pytest.raises(ConfigError, match=message):
        inlay.train("no-such-file.csv", **given)


def test_what_nothing_can_stand_on_is_refused(shared, tmp_path):
    for method, message in (
        ({"method": "full"}, "is no adapter at sites but of method 'full'"),
        ({"method": "head"}, "is no adapter at sites but of method 'head'"),
    ):
        change(shared, tmp_path, method=method)
        with pytest.raises(ConfigError, match=message):
            inlay.train("no-such-file.csv", stack_on=str(tmp_path))
    combines = {"composition": "fuse(a, b)", "adapters": {"a": "1", "b": "2"}}
    change(shared, tmp_path, combines=combines)
    with pytest.raises(ConfigError, match=r"holds the learned weights of 'fuse\(a, b\)'"):
        inlay.train("no-such-file.csv", stack_on=str(tmp_path))


def change(shared, folder, **values):
    """Write the manifest of the shared run with other values."""
    manifest = json.loads((shared.folder / "adapter" / "adapter.json").read_text())
    (folder / "adapter.json").write_text(json.dumps(manifest | values))


def test_the_plan_says_what_is_below(root, shared, tmp_path, no_reload):
    listener = tiny.Listener()
    train(root, tmp_path, "told", stack_on=str(shared.folder), reporter=listener)
    assert listener.plans[0].where.endswith(f"on top of {shared.folder}, which stays as it is")
