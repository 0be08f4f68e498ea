"""Many trainings at once: each as if it had been alone, and what goes wrong stays with its own."""

import json
import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import inlay
from inlay.errors import ConfigError, TrainingError
from inlay.training import estimate, memory
from inlay.training import finish as finish_module
from inlay.training import many as many_module
from inlay.training import trial as trial_module
from inlay.training.interrupt import Interrupted
from inlay.training.loop import Fitting
from inlay.training.many import rungs, train_many
from inlay.training.replay import TrunkReplay
from inlay.training.reporter import SilentReporter
from inlay.training.run_folder import RunFolder
from inlay.training.trial import Trained, Trial
from tests import tiny

pytestmark = pytest.mark.usefixtures("no_reload")


@pytest.fixture
def asked(root, tmp_path):
    """Settings for some trainings, each with a folder of its own."""

    def make(*changes, **common):
        given = {
            "data": str(tiny.shared_data(root)), "base": str(tiny.shared_base(root)),
            **tiny.SETTINGS, **common,
        }  # fmt: skip
        return [{**given, "out": str(tmp_path / str(n)), **c} for n, c in enumerate(changes)]

    return make


def weights(folder):
    return load_file(folder / "adapter" / "adapter.safetensors")


def test_together_is_as_alone_after_more_than_100_steps(asked, tmp_path):
    changes = [
        {"layers": "upper", "seed": 1},
        {"layers": "upper", "seed": 2, "learning_rate": 5e-3, "method": "lora[rank=2,dropout=0.1]"},
        {"layers": "all", "seed": 1, "method": "bottleneck[reduction=4,dropout=0.2]"},
        {"method": "head", "seed": 3},
    ]
    settings = asked(*changes, epochs=7, patience=99)
    together = train_many(settings)
    assert [one.state for one in together] == ["finished"] * 4
    for one, given in zip(together, settings, strict=True):
        alone = inlay.train(**{**given, "out": str(tmp_path / f"alone{one.number}")})
        assert alone.metrics["epochs_run"] == one.epochs == 7
        assert one.epochs * 15 > 100, "steps"
        assert one.score == alone.metrics["best_score"] == one.run.metrics["best_score"]
        own, expected = weights(one.folder), weights(alone.folder)
        assert own.keys() == expected.keys()
        for key, value in own.items():
            torch.testing.assert_close(value, expected[key], atol=1e-5, rtol=1e-5)


def test_one_that_fails_fails_alone(asked):
    settings = asked({"seed": 1}, {"learning_rate": 1e30, "optimizer": "sgd"}, {"seed": 2})
    good, bad, other = train_many(settings)
    assert (good.state, bad.state, other.state) == ("finished", "failed", "finished")
    assert isinstance(bad.error, TrainingError)
    with pytest.raises(TrainingError, match="Lower the learning rate"):
        bad.run.metrics  # noqa: B018
    assert good.run.metrics["test"]["accuracy"] > 0.5


def test_one_whose_check_fails_fails_alone(asked, monkeypatch):
    done = []

    def check(adapter, *given):
        done.append(adapter)
        if len(done) == 1:
            raise TrainingError("answers differently")
        return {"rows": 0}

    monkeypatch.setattr(finish_module, "check_reload", check)
    first, second = train_many(asked({"seed": 1}, {"seed": 2}, epochs=1))
    assert (first.state, second.state) == ("failed", "finished")


def test_halving_leaves_off_the_worse(asked):
    rates = [1e-6, 2e-2, 1e-5, 1e-7]
    settings = asked(*({"learning_rate": rate} for rate in rates), epochs=4, patience=99)
    trained = train_many(settings, halving=2)
    assert [one.epochs for one in trained].count(4) == 1
    assert trained[1].state == "finished"
    assert trained[1].epochs == 4
    stopped = [one for one in trained if one.state == "stopped"]
    assert sorted(one.epochs for one in stopped) == [1, 1, 2]
    assert sorted(one.rung for one in trained) == [1, 1, 2, 3]
    with pytest.raises(ConfigError, match="was stopped after 1 epochs, as others did better"):
        next(one for one in stopped if one.epochs == 1).run  # noqa: B018
    assert inlay.resume(stopped[0].folder).metrics["epochs_run"] == 4


def test_seeds_of_one_thing_go_on_together_by_their_mean(asked, monkeypatch):
    scores = {1: 0.9, 2: 0.1, 3: 0.6, 4: 0.7, 5: 0.2, 6: 0.3, 7: 0.95, 8: 0.0}
    real = Trial.advance

    def advance(trial, to_epoch):
        real(trial, to_epoch)
        trial.result.score = scores[trial.result.settings["seed"]]

    monkeypatch.setattr(Trial, "advance", advance)
    settings = asked(*({"seed": seed} for seed in scores), epochs=4, patience=99)
    trained = train_many(settings, halving=2, seeds=2, choose=lambda end: [])
    # The means are 0.5, 0.65, 0.25 and 0.475: the best single seed is left off first.
    assert [one.rung for one in trained] == [2, 2, 3, 3, 1, 1, 1, 1]


def test_a_seed_that_fails_counts_against_its_setting(asked):
    good, bad = {"learning_rate": 1e-4}, {"learning_rate": 1e30, "optimizer": "sgd"}
    settings = asked({**good, "seed": 1}, {**good, "seed": 2}, good, bad, epochs=4, patience=99)
    trained = train_many(settings, halving=2, seeds=2, choose=lambda end: [])
    assert [one.state for one in trained] == ["stopped", "stopped", "stopped", "failed"]
    assert [one.rung for one in trained][:3] == [2, 2, 1]


def test_those_that_replay_most_come_first(asked, monkeypatch):
    order = []
    real = Trial.advance

    def advance(trial, to_epoch):
        order.append(trial.result.number)
        real(trial, to_epoch)

    monkeypatch.setattr(Trial, "advance", advance)
    train_many(asked({"layers": "all"}, {"layers": "upper"}, {"method": "side"}, epochs=1))
    assert order == [2, 1, 0]


def test_a_batch_that_does_not_fit_is_cut_before_it_is_tried(asked, monkeypatch):
    monkeypatch.setattr(estimate, "free", lambda device: 1000)
    monkeypatch.setattr(memory, "free", lambda device: 1)
    told = []
    listener = SilentReporter()
    listener.on_note = told.append
    sizes = []
    real = Fitting.run

    def run(fitting, to_epoch=math.inf):
        sizes.append(fitting.training.micro_batch)
        real(fitting, to_epoch)

    monkeypatch.setattr(Fitting, "run", run)
    (one,) = train_many(asked({}, epochs=1), reporter=listener)
    assert (one.state, sizes) == ("finished", [1])
    (cut,) = [note for note in told if "memory" in note]
    assert cut.startswith("[0] memory would not suffice for")
    told.clear()
    monkeypatch.setattr(estimate, "free", lambda device: 2**50)
    sizes.clear()
    train_many(asked({"seed": 2}, epochs=1), reporter=listener, force=True)
    assert not [note for note in told if "memory" in note]
    assert sizes == [tiny.SETTINGS["batch_size"]]


def test_one_that_goes_on_with_less_memory_has_its_batch_cut(asked, monkeypatch):
    settings = asked({}, epochs=2, patience=99)
    stopped = []

    def stop(trial, to_epoch):
        trial.fitting.run(1)
        stopped.append(trial.fitting.training.micro_batch)
        raise Interrupted("0", signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trial, "advance", stop)
        with pytest.raises(Interrupted, match="0"):
            train_many(settings)
    monkeypatch.setattr(estimate, "free", lambda device: 1000)
    monkeypatch.setattr(memory, "free", lambda device: 1)
    sizes = []
    real = Trial.advance

    def advance(trial, to_epoch):
        sizes.append(trial.fitting.training.micro_batch)
        real(trial, to_epoch)

    monkeypatch.setattr(Trial, "advance", advance)
    (one,) = train_many(settings)
    assert one.epochs == 2
    assert stopped == [tiny.SETTINGS["batch_size"]]
    assert set(sizes) == {1}


def test_replay_that_was_asked_for_and_cannot_be_fails_alone(asked, monkeypatch):
    monkeypatch.setattr(
        TrunkReplay, "_why_not", lambda replay, recorded: "its blocks hand on more."
    )
    told = []
    listener = SilentReporter()
    listener.on_note = told.append
    upper = {"layers": "upper"}
    asked_for, not_asked = train_many(
        asked({**upper, "replay": True}, {**upper, "replay": None}, epochs=1), reporter=listener
    )
    assert (asked_for.state, not_asked.state) == ("failed", "finished")
    with pytest.raises(ConfigError, match="replay=True: its blocks hand on more"):
        asked_for.run  # noqa: B018
    assert sum("replay: no, its blocks hand on more." in note for note in told) == 1


def test_halving_compares_within_an_epoch(asked, tmp_path, monkeypatch):
    rates = [1e-6, 2e-2, 1e-5, 1e-7]
    given = [{"learning_rate": rate} for rate in rates]
    listener = tiny.Listener()
    late = train_many(asked(*given, epochs=1, patience=99), halving=2, reporter=listener)
    assert [one.epochs for one in late] == [1, 1, 1, 1], "not before ten steps of 15"
    assert any(note.startswith("halving: too few steps to compare") for note in listener.notes)
    monkeypatch.setattr(trial_module, "_LEAST_STEPS", 2)
    given = [{**one, "out": str(tmp_path / f"early{n}")} for n, one in enumerate(given)]
    early = train_many(asked(*given, epochs=1, patience=99), halving=2)
    assert sorted(one.epochs for one in early) == [0.27, 0.27, 0.53, 1]
    assert (early[1].state, early[1].epochs) == ("finished", 1)
    # The same call finds the best one finished, and lets no other take its place.
    again = train_many(asked(*given, epochs=1, patience=99), halving=2)
    assert [(one.state, one.epochs) for one in again] == [(o.state, o.epochs) for o in early]
    stopped = [one for one in early if one.state == "stopped"]
    assert inlay.resume(stopped[0].folder).metrics["epochs_run"] == 1


def test_of_equal_scores_the_lower_loss_goes_on():
    none, zero, low, below = (
        Trained(number=n, settings={}, score=score, loss=loss)
        for n, (score, loss) in enumerate([(None, 0.1), (0.0, 2.0), (0.0, 1.0), (-0.4, 0.5)])
    )
    assert sorted([none, zero, low, below], key=lambda one: one.rank) == [none, below, zero, low]


@pytest.mark.parametrize("halving", [None, 2])
def test_slots_are_freed_and_refilled_and_nothing_comes_out_different(
    asked, tmp_path, monkeypatch, halving
):
    rates = [1e-6, 2e-2, 1e-5]
    given = [{"learning_rate": rate} for rate in rates]
    every = train_many(
        asked(*given, epochs=4, patience=99), halving=halving, reports=True, choose=lambda end: []
    )
    resident = []
    real = Trial.advance

    def advance(self, to_epoch):
        resident.append(len(self.opened.prepared.adapters.names))
        real(self, to_epoch)

    monkeypatch.setattr(Trial, "advance", advance)
    given = [{**one, "out": str(tmp_path / f"few{n}")} for n, one in enumerate(given)]
    few = train_many(asked(*given, epochs=4, patience=99), halving=halving, slots=1, reports=True)
    assert set(resident) == {1}
    assert [one.epochs for one in few] == [one.epochs for one in every]
    assert [one.score for one in few] == [one.score for one in every]
    assert few[1].run.metrics["validation"] == few[1].report == every[1].report
    assert few[1].report["accuracy"] == few[1].score


@pytest.mark.parametrize(
    ("epochs", "number", "halving", "least", "expected"),
    [
        (5, 8, None, 2, [1, 2, 3, 4, 5]),
        (8, 8, 2, 0, [1, 2, 4, 8]),
        (3, 8, 2, 0, [0.375, 0.75, 1.5, 3]),
        (3, 8, 2, 0.5, [0.75, 1.5, 3]),
        (3, 64, 2, 1, [1.5, 3]),
        (0, 8, 2, 0, [0]),
        (9, 9, 3, 0.25, [1, 3, 9]),
        (9, 5, 3, 0, [1, 3, 9]),
        (4, 1, 2, 0.5, [4]),
        (1, 8, 2, 1.5, [1]),
    ],
)
def test_rungs(epochs, number, halving, least, expected):
    assert rungs(epochs, number, halving, least=least) == expected


def test_chosen_ones_are_measured(asked):
    trained = train_many(asked({"seed": 1}, {"seed": 2}, epochs=1), choose=lambda at_end: [1])
    assert [one.state for one in trained] == ["stopped", "finished"]
    assert trained[0].score is not None
    assert not (trained[0].folder / "metrics.json").exists()


class _Stopping(SilentReporter):
    """Asks to stop at a step of all together."""

    def __init__(self, at):
        self.at = at

    def on_step(self, step, num_steps, loss):
        assert step <= num_steps
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interruption_loses_nothing(asked, tmp_path):
    changes = [{"seed": 1, "layers": "upper"}, {"seed": 2, "layers": "upper"}]
    with pytest.raises(Interrupted, match="continue with: inlay resume"):
        train_many(asked(*changes), reporter=_Stopping(9))
    again = train_many(asked(*changes))
    assert [one.state for one in again] == ["finished", "finished"]
    for one, given in zip(again, asked(*changes), strict=True):
        alone = inlay.train(**{**given, "out": str(tmp_path / f"alone{one.number}")})
        for key, value in weights(one.folder).items():
            torch.testing.assert_close(value, weights(alone.folder)[key], atol=1e-5, rtol=1e-5)
    once_more = train_many(asked(*changes))
    assert [one.run.metrics for one in once_more] == [one.run.metrics for one in again]


def test_whoever_asks_to_stop_while_one_is_measured_need_not_wait_for_the_others(asked):
    class Measuring(SilentReporter):
        def on_note(self, text):
            if text.startswith("[0] measuring"):
                os.kill(os.getpid(), signal.SIGTERM)

    settings = asked({"seed": 1}, {"seed": 2}, epochs=1)
    message = "stopped before training 1 is measured; the same call goes on"
    with pytest.raises(Interrupted, match=message) as caught:
        train_many(settings, reporter=Measuring())
    assert caught.value.exit_code == 143
    first, second = (RunFolder(Path(own["out"])) for own in settings)
    assert (first.is_finished, second.is_finished) == (True, False)
    assert [one.state for one in train_many(settings)] == ["finished", "finished"]


class _Notes(SilentReporter):
    """Keeps what was noted."""

    def __init__(self):
        self.notes = []

    def on_note(self, text):
        self.notes.append(text)


def test_evaluations_are_told_with_their_number(asked):
    listener = _Notes()
    train_many(asked({"seed": 1}, {"seed": 2}, epochs=2), reporter=listener)
    told = [note for note in listener.notes if " epoch " in note]
    assert [note.split(":")[0] for note in told] == [
        "[0] epoch 1", "[1] epoch 1", "[0] epoch 2", "[1] epoch 2",
    ]  # fmt: skip


def test_what_is_noted_of_rows_and_settings_is_told_once(asked):
    listener = _Notes()
    changes = {"seed": 1}, {"max_length": 9999, "seed": 2}, {"max_length": 9999, "seed": 3}
    train_many(asked(*changes, max_length=12, epochs=1), reporter=listener, slots=1)
    (beyond,) = [note for note in listener.notes if "max_length 9999" in note]
    assert beyond.startswith("[1] max_length 9999: the base takes no more than ")
    (replay,) = [note for note in listener.notes if "replay: " in note]
    assert replay.startswith("[0] replay: the lowest block is computed once for each row")


def test_replay_that_another_has_found_impossible_is_not_promised(asked, monkeypatch):
    monkeypatch.setattr(TrunkReplay, "_why_not", lambda replay, recorded: "it gives others")
    listener = _Notes()
    settings = asked({"seed": 1}, {"seed": 2}, layers="upper", epochs=1)
    train_many(settings, reporter=listener, slots=1)
    promised, *others = [note for note in listener.notes if "replay: " in note]
    assert promised.startswith("[0] replay: the lowest ")
    assert others == [f"[{n}] replay: no, it gives others" for n in (0, 1)]


def test_progress_counts_what_was_done_before_and_nothing_of_what_is_left_off(asked):
    changes = {"seed": 1}, {"seed": 2}, {"learning_rate": 1e30, "optimizer": "sgd", "seed": 3}
    with pytest.raises(Interrupted, match="saved at step 5"):
        train_many(asked(*changes, epochs=2), reporter=_Stopping(20))
    told = []
    listener = SilentReporter()
    listener.on_step = lambda step, num_steps, loss: told.append((step, num_steps))
    train_many(asked(*changes, epochs=2), reporter=listener)
    assert told[0] == (21, 90)
    step, num_steps = told[-1]
    assert 60 < step == num_steps < 75


def test_what_cannot_be_is_refused_before_anything_is_trained(asked, tmp_path):
    with pytest.raises(ConfigError, match="there is nothing to train"):
        train_many([])
    with pytest.raises(ConfigError, match="one in at least 2 goes on"):
        train_many(asked({}), halving=1)
    with pytest.raises(ConfigError, match="at least 1 trains at a time"):
        train_many(asked({}), slots=0)
    with pytest.raises(ConfigError, match="3 settings do not come in groups of so many"):
        train_many(asked({}, {}, {}), seeds=2)
    with pytest.raises(ConfigError, match="unknown key"):
        train_many(asked({}, {"lerning_rate": 3}))
    assert not (tmp_path / "0" / "log.jsonl").exists() or not json.loads(
        (tmp_path / "0" / "log.jsonl").read_text() or "{}"
    )


def test_several_processes_are_refused(asked, monkeypatch):
    two = SimpleNamespace(num_processes=2)
    monkeypatch.setattr(many_module, "PartialState", lambda: two)
    with pytest.raises(ConfigError, match="many trainings share one process"):
        train_many(asked({}))
