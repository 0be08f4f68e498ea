"""The loop: what is trained, when it stops, and that an interruption changes nothing."""

import pytest
import torch

from inlay.errors import TrainingError
from inlay.training import loop
from inlay.training.interrupt import Interrupted
from inlay.training.loop import Fitting
from inlay.training.state import Progress
from tests import tiny
from tests.training.fitting import Wrapped, assert_equal, copy, fit, interrupt_at


@pytest.mark.parametrize("method", ["bottleneck", "lora", "full", "top:1", "head"])
def test_only_what_is_trained_changes(ready, method):
    found = ready(method=method, epochs=1)
    training = found.training
    before = copy(training)
    with found.adapters.original_weights():
        own = {id(p) for p in training.entry.parameters()}
        base = {
            k: p.detach().clone() for k, p in training.model.named_parameters() if id(p) not in own
        }
    fit(training, None)
    after = training.entry.tensors()
    assert all(torch.isfinite(value).all() for value in after.values())
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {"head/out.weight", "head/out.bias"} <= changed
    assert (len(changed) > 2) is (method != "head")
    with found.adapters.original_weights():
        now = dict(training.model.named_parameters())
        for key, value in base.items():
            assert torch.equal(now[key], value), key


def test_loss_falls(ready):
    listener = tiny.Listener()
    fit(ready(listener, epochs=6).training, None)
    assert len(listener.losses) == 36
    assert sum(listener.losses[-6:]) < 0.8 * sum(listener.losses[:6])
    assert listener.evaluations[-1].train_loss == pytest.approx(sum(listener.losses[-6:]) / 6)


def test_accumulation_takes_the_steps_of_a_big_batch(ready):
    listener = tiny.Listener()
    training = ready(listener, batch_size=8, gradient_accumulation=2, epochs=1).training
    sizes = []

    def collate(rows, tokenizer, inner=training.task):
        if torch.is_grad_enabled():
            sizes.append(len(rows))
        return inner.collate(rows, tokenizer)

    training.task = Wrapped(training.task, collate=collate)
    progress, _ = fit(training, None)
    assert listener.steps == [1, 2, 3, 4, 5, 6]
    assert [len(rows) for rows in progress.recent] == [16, 16, 16]
    assert sizes == [8] * 12


def test_best_state_is_kept_and_training_stops_without_gain(ready):
    listener = tiny.Listener()
    training = ready(listener, epochs=9, patience=2).training
    script, states = iter([0.5, 0.8, 0.7, 0.8, 0.9]), []

    def metrics(scores, targets):
        states.append(copy(training))
        return {"accuracy": next(script), "loss": 0.0}

    training.task = Wrapped(training.task, metrics=metrics)
    progress, best = fit(training, None)
    assert [row.is_best for row in listener.evaluations] == [True, True, False, False]
    assert (progress.epoch, progress.best_epoch, progress.best_step) == (4, 2, 12)
    assert_equal(best, states[1])
    assert not torch.equal(states[1]["head/out.bias"], states[3]["head/out.bias"])
    assert listener.notes == ["stopping: no gain for 2 evaluations"]


def test_of_equal_scores_the_lower_loss_is_a_gain(ready):
    """A tagger's F1 stays 0 while it learns what is no entity; it must not be stopped then."""
    listener = tiny.Listener()
    training = ready(listener, epochs=9, patience=2).training
    script = iter(
        [(0.0, 3.0), (0.0, 2.0), (0.0, 2.5), (0.0, 1.0), (0.4, 1.5), (0.4, 1.5), (0.4, 2)]
    )
    own = {"metrics": lambda *given: dict(zip(("accuracy", "loss"), next(script), strict=True))}
    training.task = Wrapped(training.task, **own)
    progress, _ = fit(training, None)
    gains = [row.is_best for row in listener.evaluations]
    assert gains == [True, True, False, True, True, False, False]
    assert (progress.best_epoch, progress.best_score, progress.best_loss) == (5, 0.4, 1.5)


CASES = [
    {"optimizer": "adamw", "schedule": "cosine"},
    {"optimizer": "adafactor"},
    {"optimizer": "sgd", "schedule": "constant", "gradient_accumulation": 2},
    {"optimizer": "adagrad", "eval_every": 4},
    {"optimizer": "adam", "method": "full", "learning_rate": 1e-3},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_an_interrupted_training_ends_bitwise_as_one_that_was_not(ready, settings):
    plain = ready(epochs=2, **settings).training
    expected, expected_best = fit(plain, None)
    plain.checkpoints.clear()
    seconds = "seconds"
    for step in (1, 4, 5):
        training = ready(epochs=2, **settings).training
        interrupt_at(training, step)
        snapshot, _ = training.checkpoints.newest()
        message = rf"^saved at step {step}; continue with: inlay resume {training.run}$"
        with pytest.raises(Interrupted, match=message) as caught:
            fit(training, snapshot)
        assert caught.value.exit_code == 143
        torch.manual_seed(step)  # what a new process has is of no importance
    training = ready(epochs=2, **settings).training
    snapshot, _ = training.checkpoints.newest()
    progress, best = fit(training, snapshot)
    assert_equal(copy(training), copy(plain))
    assert_equal(best, expected_best)
    ours, theirs = vars_of(progress), vars_of(expected)
    assert {k: v for k, v in ours.items() if k != seconds} == {
        k: v for k, v in theirs.items() if k != seconds
    }


def vars_of(progress: Progress) -> dict:
    return {name: getattr(progress, name) for name in Progress.__dataclass_fields__}


def test_a_training_that_was_done_is_not_trained_again(ready):
    training = ready(epochs=1).training
    fit(training, None)
    weights = copy(training)
    listener = tiny.Listener()
    again = ready(listener, epochs=1).training
    snapshot, _ = again.checkpoints.newest()
    progress, _ = fit(again, snapshot)
    assert progress.is_done
    assert listener.steps == []
    assert_equal(copy(again), weights)


def test_scores_that_are_no_numbers_are_no_result(ready):
    training = ready(epochs=1).training
    inner = training.task

    def scores(model, head, batch):
        value = inner.scores(model, head, batch)
        return value if torch.is_grad_enabled() else value * float("nan")

    training.task = Wrapped(inner, scores=scores)
    message = r"^a score on validation is not finite after step 6\. Rows of the last 3 batches: "
    with pytest.raises(TrainingError, match=message):
        fit(training, None)


def test_weights_that_are_no_numbers_are_not_saved(ready, monkeypatch):
    training = ready(epochs=1).training

    def on_step(step, num_steps, loss):
        if step == 3:
            with torch.no_grad():
                training.head.out.bias[0] = float("inf")

    training.reporter.on_step = on_step
    message = r"a weight is not finite after step 3\..* The last good checkpoint is step-000002\.$"
    monkeypatch.setattr(loop, "_CHECKPOINT_SHARE", 1e9)  # at every step, however long it takes
    with pytest.raises(TrainingError, match=message):
        fit(training, None)
    snapshot, notes = training.checkpoints.newest()
    assert notes == []
    assert all(torch.isfinite(value).all() for value in snapshot.weights.values())


def test_a_signal_during_the_last_evaluation_is_heard(ready):
    training = ready(epochs=1).training

    def on_evaluation(evaluation):
        training.stop.signal_number = 2

    training.reporter.on_evaluation = on_evaluation
    with pytest.raises(Interrupted, match=r"^saved at step 6; continue with: inlay resume") as it:
        fit(training, None)
    assert it.value.exit_code == 130
    snapshot, _ = training.checkpoints.newest()
    assert snapshot.state["progress"]["is_done"]


def test_evaluations_within_an_epoch(ready):
    listener = tiny.Listener()
    training = ready(listener, epochs=2, eval_every=4, patience=9).training
    progress, _ = fit(training, None)
    # Six steps an epoch: after the fourth, at the end, after the eighth, at the end.
    assert [row.step for row in listener.evaluations] == [4, 6, 8, 12]
    assert [row.epoch for row in listener.evaluations] == [0.67, 1, 1.33, 2]
    first = sum(listener.losses[:4]) / 4
    assert listener.evaluations[0].train_loss == pytest.approx(first)
    assert progress.num_evaluations == 4
    plain = tiny.Listener()
    fit(ready(plain, epochs=2, patience=9).training, None)
    assert plain.losses == listener.losses, "to look at the model does not change it"


def test_a_training_in_parts_learns_the_same(ready):
    plain, parts, again = (tiny.Listener() for _ in range(3))
    whole = ready(plain, epochs=2, patience=9).training
    fit(whole, None)
    whole.checkpoints.clear()
    training = ready(parts, epochs=2, patience=9).training
    fitting = Fitting(training, None)
    for to_epoch, step in [(0.5, 3), (0.5, 3), (0.4, 3), (5 / 6, 5), (1, 6), (1, 6), (1.01, 7)]:
        fitting.run(to_epoch)
        assert fitting.progress.step == step, to_epoch
    assert [row.step for row in parts.evaluations] == [3, 5, 6, 7], "each point is measured once"
    assert [row.epoch for row in parts.evaluations] == [0.5, 0.83, 1, 1.17]
    # What a new process does with the checkpoint.
    training = ready(again, epochs=2, patience=9).training
    snapshot, _ = training.checkpoints.newest()
    fitting = Fitting(training, snapshot)
    fitting.run(1.01)
    fitting.run()
    assert [row.step for row in again.evaluations] == [12]
    assert parts.losses + again.losses == plain.losses
    assert_equal(copy(training), copy(whole))


def test_a_point_is_measured_by_whoever_was_interrupted_before_it(ready):
    listener = tiny.Listener()
    training = ready(epochs=2).training
    interrupt_at(training, 3)
    with pytest.raises(Interrupted, match="saved at step 3"):
        Fitting(training, None).run(0.5)
    training = ready(listener, epochs=2).training
    snapshot, _ = training.checkpoints.newest()
    Fitting(training, snapshot).run(0.5)
    assert [row.step for row in listener.evaluations] == [3]


def test_points_within_an_epoch_are_not_held_against_patience(ready):
    training = ready(epochs=3, patience=2).training
    script = iter([0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.7])
    training.task = Wrapped(
        training.task, metrics=lambda scores, targets: {"accuracy": next(script), "loss": 0.0}
    )
    fitting = Fitting(training, None)
    for to_epoch in (0.2, 0.4, 0.6, 0.8, 1, 2, 3):
        fitting.run(to_epoch)
    assert fitting.progress.without_gain == 0
    assert (fitting.progress.step, fitting.progress.best_score) == (18, 0.7)
    script = iter([0.5, 0.4, 0.4])
    training = ready(epochs=3, patience=2, eval_every=2).training
    training.task = Wrapped(
        training.task, metrics=lambda scores, targets: {"accuracy": next(script), "loss": 0.0}
    )
    fitting = Fitting(training, None)
    for to_epoch in (2 / 6, 4 / 6, 1):
        fitting.run(to_epoch)
    assert fitting.progress.is_done, "an evaluation that was due anyway is held against it"


def test_training_stops_within_an_epoch(ready):
    listener = tiny.Listener()
    training = ready(listener, epochs=3, eval_every=2, patience=2).training
    script = iter([0.5, 0.6, 0.4, 0.6])
    training.task = Wrapped(
        training.task, metrics=lambda scores, targets: {"accuracy": next(script), "loss": 0.0}
    )
    progress, _ = fit(training, None)
    assert listener.steps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (progress.epoch, progress.best_epoch, progress.best_step) == (1, 1, 4)
    assert listener.notes == ["stopping: no gain for 2 evaluations"]
    snapshot, _ = training.checkpoints.newest()
    assert snapshot.state["progress"]["is_done"]
