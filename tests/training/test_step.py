"""One step: parts that sum to the whole, and what it does when memory or numbers run out."""

import re

import pytest
import torch

from inlay.errors import ResourceError, TrainingError
from inlay.training import step as step_module
from inlay.training.interrupt import Interrupted
from inlay.training.step import forward_backward
from tests import tiny
from tests.training.fitting import Wrapped, assert_equal, copy, fit, hungry, interrupt_at


def gradients(training, rows, micro_batch):
    training.entry.eval()  # no dropout, so that the parts can be compared
    loss = forward_backward(training, rows, micro_batch)
    return loss, [p.grad.clone() for p in training.entry.parameters()]


@pytest.mark.parametrize("micro_batch", [1, 3, 5, 16, 99])
def test_parts_sum_to_the_gradient_of_the_whole(ready, micro_batch):
    training = ready(label_smoothing=0.1).training
    rows = list(range(3, 20))
    loss, whole = gradients(training, rows, len(rows))
    part_loss, parts = gradients(training, rows, micro_batch)
    assert part_loss == pytest.approx(loss, rel=1e-5)
    for a, b in zip(parts, whole, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert max(float(value.abs().max()) for value in whole) > 1e-3


def test_out_of_memory_halves_the_rows_and_not_the_result(ready):
    listener = tiny.Listener()
    training, plain = ready(listener).training, ready().training
    rows = list(range(16))
    _, whole = gradients(plain, rows, 16)
    training.task = hungry(training.task, 5)
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        gradients(training, rows, 16)
    _, parts = gradients(training, rows, 4)
    for a, b in zip(parts, whole, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    fit(training, None)
    assert training.micro_batch == 4
    longest = r"out of memory at \d+ tokens"
    tail = "rows at a time from here on, summed up to the same batch"
    assert len(listener.notes) == 2
    assert re.fullmatch(f"{longest}: 8 {tail}", listener.notes[0])
    assert re.fullmatch(f"{longest}: 4 {tail}", listener.notes[1])
    assert listener.steps == list(range(1, 19))


def test_rows_that_memory_suffices_for_are_known_after_an_interruption(ready):
    training = ready().training
    training.task = hungry(training.task, 5)
    interrupt_at(training, 2)
    with pytest.raises(Interrupted, match="saved at step 2"):
        fit(training, None)
    training = ready().training
    assert training.micro_batch == 16
    snapshot, _ = training.checkpoints.newest()
    fit(training, snapshot)
    assert training.micro_batch == 4


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: 9 bytes")])
def test_no_memory_for_a_single_row(ready, error):
    training = ready().training

    def scores(model, head, batch):
        raise error

    training.task = Wrapped(training.task, scores=scores)
    message = r"^memory does not suffice for one row of \d+ tokens\. Lower --max-length, use fewer"
    with pytest.raises(ResourceError, match=message) as caught:
        fit(training, None)
    assert caught.value.exit_code == 5


def test_another_error_of_the_model_is_not_taken_for_memory(ready):
    training = ready().training

    def scores(model, head, batch):
        raise RuntimeError("size mismatch")

    training.task = Wrapped(training.task, scores=scores)
    with pytest.raises(RuntimeError, match=r"^size mismatch$"):
        fit(training, None)


def test_a_loss_that_is_no_number_names_the_rows(ready):
    training = ready(batch_size=4).training
    inner, calls, names = training.task, [], []

    def loss(scores, batch, *, label_smoothing):
        calls.append(len(scores))
        value = inner.loss(scores, batch, label_smoothing=label_smoothing)
        return value * float("nan") if len(calls) == 5 else value

    training.task = Wrapped(inner, loss=loss)
    before = copy(training)
    weights = []
    training.reporter.on_step = lambda *given: weights.append(copy(training))
    row_name = training.row_name
    training.row_name = lambda row: names.append(row_name(row)) or names[-1]
    with pytest.raises(TrainingError, match=r"^the loss is nan at step 5\. Rows of") as caught:
        fit(training, None)
    text = str(caught.value)
    assert f"Rows of the last 3 batches: {', '.join(names[:12])}. Lower the learning rate" in text
    assert len(set(names)) == 12
    assert "(0.02) or use --precision float32." in text
    assert caught.value.exit_code == 1
    assert_equal(copy(training), weights[-1])  # the bad step was not taken
    assert not torch.equal(before["head/out.bias"], weights[-1]["head/out.bias"])
    kept = training.checkpoints.paths()
    assert bool(kept) is ("The last good checkpoint is" in text)


def test_gradients_are_shortened(ready):
    def moved(limit):
        training = ready(
            optimizer="sgd", schedule="constant", warmup=0, learning_rate=1.0, weight_decay=0.0,
            max_grad_norm=limit, epochs=1, batch_size=200,
        ).training  # fmt: skip
        before = copy(training)
        fit(training, None)
        after = copy(training)
        return sum(float((after[key] - before[key]).square().sum()) for key in before) ** 0.5

    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)
    assert moved(1e9) > 0.02


def test_a_gradient_that_is_no_number_is_not_stepped_on(ready, monkeypatch):
    """The loss alone may still be a number; the weights would not be after the step."""
    training = ready(epochs=1).training
    plain, calls, weights = step_module.forward_backward, [], []

    def infinite(given, rows, micro_batch):
        loss = plain(given, rows, micro_batch)
        calls.append(loss)
        if len(calls) == 6:
            next(iter(training.entry.parameters())).grad.fill_(float("inf"))
        return loss

    monkeypatch.setattr(step_module, "forward_backward", infinite)
    training.reporter.on_step = lambda *given: weights.append(copy(training))
    message = r"^the gradient is (inf|nan) at step 6\. Rows of the last 3 batches: "
    with pytest.raises(TrainingError, match=message):
        fit(training, None)
    assert len(weights) == 5
    assert_equal(copy(training), weights[-1])
