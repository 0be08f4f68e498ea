"""Training to the end, with tasks that were changed; helpers of several tests."""

import torch

from inlay.training.loop import Fitting


def fit(training, snapshot):
    """Train to the end; return how it went and the best tensors."""
    fitting = Fitting(training, snapshot)
    fitting.run()
    return fitting.progress, fitting.best


class Wrapped:
    """A task with some of its methods exchanged."""

    def __init__(self, task, **methods):
        self.task = task
        self.methods = methods

    def __getattr__(self, name):
        return self.methods.get(name) or getattr(self.task, name)

    def for_evaluation(self, *given):
        return self


def hungry(task, limit):
    """Make a task that runs out of memory above so many rows."""

    def scores(model, head, batch):
        if torch.is_grad_enabled() and len(batch.inputs["input_ids"]) > limit:
            raise torch.OutOfMemoryError("out of memory")
        return task.scores(model, head, batch)

    return Wrapped(task, scores=scores)


def copy(training):
    """Return what the adapter has learnt so far."""
    return {key: value.detach().clone() for key, value in training.entry.tensors().items()}


def assert_equal(a, b):
    """Compare tensors by name, bitwise."""
    assert set(a) == set(b)
    for key in a:
        assert torch.equal(a[key], b[key]), key


def interrupt_at(training, step):
    """Let a signal come at a step."""

    def on_step(now, num_steps, loss):
        if now == step:
            training.stop.signal_number = 15

    training.reporter.on_step = on_step
