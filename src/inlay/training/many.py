"""Many trainings in one process: one copy of the base, one pass over its trunk, each on its own.

The trainings take turns, an epoch at a time or a rung. Each has its own optimiser, schedule, random
numbers, early stopping and checkpoints, so it comes out as if it had been alone; but a rung amid an
epoch is one more evaluation, at which a state can be the best.
"""

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, final

from accelerate import PartialState

from inlay.errors import ConfigError
from inlay.training.interrupt import StopRequest, stop_on_signals
from inlay.training.reporter import Evaluation, Plan, PretrainPlan, Reporter, SilentReporter
from inlay.training.shelf import Shelf
from inlay.training.trial import Trained, Trial


def train_many(
    settings: Sequence[Mapping[str, Any]],
    *,
    reporter: Reporter | None = None,
    halving: int | None = None,
    slots: int | None = None,
    reports: bool = False,
    choose: Callable[[Sequence[Trained]], Collection[int]] | None = None,
    seeds: int = 1,
    force: bool = False,
) -> list[Trained]:
    """Train many adapters in one process over one copy of each base.

    Rows that several read are encoded once, and what frozen blocks make of them is computed once
    (see `replay`). A training whose loss is not a number fails alone. The same call again goes
    on with runs that were interrupted, if they have their own `out`.

    Args:
        settings: For each training what `inlay.train` takes.
        reporter: Is told what happens, steps and time of all together.
        halving: Successive halving (Jamieson and Talwalkar 2016, algorithm 1): all train for a
            part of their epochs, one in so many goes on for as many times longer, and so forth; 2
            keeps half. None is left off before twice its warm-up, or before ten steps.
        slots: How many have their adapter and optimiser in memory at once; the others wait, with
            what they have learnt in their checkpoints. All if not given.
        reports: Whether those that trained to the end are scored once more, for `Trained.report`.
        seeds: So many of `settings` in turn are one thing with several seeds; under `halving` they
            go on together or not at all, by the mean of their scores.
        choose: Gives the numbers of those that are measured on test and checked, among those that
            trained to the end; all if not given.
        force: Replace runs that are in the folders already.

    Returns:
        One for each of `settings`, in their order.

    Raises:
        ConfigError: If a setting is not known or not allowed; nothing has been trained then.
        DataError, BaseError: If data or a base cannot be used.
        Interrupted: If a signal asked to stop; checkpoints were written.
    """
    _check(settings, halving, slots, seeds)
    shared, shelf = _Together(reporter or SilentReporter(), len(settings)), Shelf()
    with stop_on_signals() as stop:
        trials = [
            Trial(
                result=Trained(number=n, settings=dict(given)), reporter=shared.reporter_of(n),
                stop=stop, shelf=shelf, force=force, on_opened=shared.expect,
            )
            for n, given in enumerate(settings)
        ]  # fmt: skip
        resident = _Slots(trials, slots)
        try:
            for trial in trials:  # so that what is wrong is told before anything is trained
                resident.open(trial)
            _run_all(trials, halving, shared, resident, seeds)
            _end_all(trials, choose, resident, stop, reports=reports)
        finally:
            for trial in trials:
                trial.close()
    return [trial.result for trial in trials]


def _check(
    settings: Sequence[Mapping[str, Any]], halving: int | None, slots: int | None, seeds: int
) -> None:
    if not settings:
        raise ConfigError("train_many: no settings were given; there is nothing to train.")
    if halving is not None and halving < 2:
        raise ConfigError(f"halving={halving!r}: one in at least 2 goes on; leave it out for all.")
    if slots is not None and slots < 1:
        raise ConfigError(f"slots={slots!r}: at least 1 trains at a time; leave it out for all.")
    if seeds < 1 or len(settings) % seeds:
        raise ConfigError(
            f"seeds={seeds!r}: {len(settings)} settings do not come in groups of so many."
        )
    if PartialState().num_processes > 1:
        raise ConfigError(
            "many trainings share one process; start them without a launcher, or each by itself."
        )


@final
class _Slots:
    """Keeps as many trainings open as there is room for.

    Args:
        trials: All of them.
        number: How many may be open; `None` for all.
    """

    def __init__(self, trials: Sequence[Trial], number: int | None) -> None:
        self._trials = trials
        self.number = number or len(trials)

    def open(self, trial: Trial) -> None:
        """Open one, and close another if need be."""
        if trial.opened is None:
            is_open = [one for one in self._trials if one.opened is not None]
            for one in is_open[: max(0, len(is_open) + 1 - self.number)]:
                one.close()
            trial.open()


def _run_all(
    trials: Sequence[Trial],
    halving: int | None,
    shared: "_Together",
    resident: _Slots,
    seeds: int,
) -> None:
    """Let the trainings take turns, and leave off the worse ones after each rung.

    Those that replay most come first, as what they compute serves the others too.
    """
    longest = max((trial.num_epochs for trial in trials), default=0)
    alive = list(trials)
    least = max((trial.least_epochs for trial in trials), default=0.0)
    number = len(trials) // seeds
    found = rungs(longest, number, halving, least=least)
    if halving is not None and len(found) == 1 and longest > 0 and number > 1:
        shared.reporter.on_note(
            "halving: too few steps to compare before the end, so all train to it; give more epochs"
        )
    if halving is None and resident.number < len(trials):
        found = found[-1:]  # whoever has a slot trains to the end
    for rung, epoch in enumerate(found, start=1):
        for trial in sorted(alive, key=lambda trial: trial.depth_replayed, reverse=True):
            resident.open(trial)
            trial.advance(epoch)
            if trial.is_at_end or trial.result.state == "failed":
                shared.leave_off(trial.result.number)
        alive = [trial for trial in alive if trial.result.state != "failed"]
        for trial in alive:
            trial.result.rung = rung
        if halving is not None and epoch < longest:
            goes_on = _better(alive, halving, seeds)
            for trial in alive:
                if trial not in goes_on:
                    shared.leave_off(trial.result.number)
                    trial.close()
            alive = goes_on


def _better(trials: Sequence[Trial], halving: int, seeds: int) -> list[Trial]:
    """Return one in so many, seeds of one thing together, those whose seeds have failed last."""
    groups: dict[int, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.result.number // seeds, []).append(trial)

    def rank(group: Sequence[Trial]) -> tuple[float, ...]:
        scores, losses = zip(*(trial.result.rank for trial in group), strict=True)
        return len(group), fmean(scores), fmean(losses)

    ordered = sorted(groups.values(), key=rank, reverse=True)
    return list(itertools.chain(*ordered[: math.ceil(len(ordered) / halving)]))


def _end_all(
    trials: Sequence[Trial],
    choose: Callable[[Sequence[Trained]], Collection[int]] | None,
    resident: _Slots,
    stop: StopRequest,
    *,
    reports: bool,
) -> None:
    """Report on validation if asked, choose, and measure on test what was chosen."""
    for trial in trials:
        if reports and trial.is_at_end and trial.result.report is None:
            resident.open(trial)
            trial.report()
    at_end = [trial.result for trial in trials if trial.is_at_end]
    chosen = [one.number for one in at_end] if choose is None else choose(at_end)
    for trial in trials:
        if stop.is_asked():
            raise stop.interrupted(
                f"stopped before training {trial.result.number} is measured; the same call goes on"
            )
        measured = trial.result.number in chosen
        if measured:
            resident.open(trial)
        trial.end(measured=measured)


def rungs(epochs: int, number: int, halving: int | None, *, least: float = 0.0) -> list[float]:
    """Return the points in epochs at which trainings are compared, the last one being the end.

    Args:
        epochs: Of a whole training.
        number: Of trainings.
        halving: One in so many goes on; `None` lets all go to the end, an epoch at a time.
        least: Epochs of the first point, at least.

    Example:
        >>> rungs(4, 8, 2)
        [0.5, 1.0, 2.0, 4.0]
    """
    if halving is None:
        return [float(epoch) for epoch in range(1, epochs + 1)]
    found = [float(epochs)]
    while number > 1 and found[0] > 0 and least <= found[0] / halving:
        found.insert(0, found[0] / halving)
        number = math.ceil(number / halving)
    return found


@final
class _Together:
    """Tells one reporter of many trainings: their steps added up, their evaluations as notes."""

    def __init__(self, reporter: Reporter, number: int) -> None:
        self.reporter = reporter
        self.steps, self.num_steps = [0] * number, [0] * number
        self._told: set[str] = set()

    def expect(self, number: int, step: int, num_steps: int, notes: Sequence[str]) -> None:
        """Expect the steps of a training that is at one; pass on what was noted of none before."""
        self.steps[number], self.num_steps[number] = step, num_steps
        for note in dict.fromkeys(notes):
            if note not in self._told:
                self._told.add(note)
                self.note(number, note)

    def note(self, number: int, text: str) -> None:
        """Pass a note on with the training's number."""
        self.reporter.on_note(f"[{number}] {text}")

    def leave_off(self, number: int) -> None:
        """Expect no more steps of a training."""
        self.num_steps[number] = self.steps[number]

    def reporter_of(self, number: int) -> Reporter:
        """Return what one training reports to."""
        return _Part(self, number)


@final
class _Part:
    """Reports for one of many trainings."""

    def __init__(self, together: _Together, number: int) -> None:
        self._together, self._number = together, number

    def on_note(self, text: str) -> None:
        """Pass a note on with the training's number."""
        self._together.note(self._number, text)

    def on_plan(self, plan: Plan | PretrainPlan) -> None:
        """Leave the plan out; there is one for each."""

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        """Count the steps of all."""
        own = self._together
        own.steps[self._number] = step
        own.reporter.on_step(sum(own.steps), sum(own.num_steps), loss)

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Say how well it does."""
        values = ", ".join(f"{name} {value:.4g}" for name, value in evaluation.metrics.items())
        self.on_note(f"epoch {evaluation.epoch:g}: {values}")

    def on_end(self, metrics: dict[str, Any]) -> None:
        """Leave it to the caller, who gets the run."""
