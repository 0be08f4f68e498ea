"""What a training tells, on a terminal with a bar, elsewhere in sparse lines; all on stderr."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from inlay.cli import console, wording
from inlay.cli.results import is_share, title

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from inlay.training.reporter import Evaluation, Plan, PretrainPlan

_LINE_SECONDS = 10.0
_COLUMNS = (("epoch", 5), ("step", 6), ("train loss", 10))
_NAMES = {"loss": "val loss", "mean": "mean"}  # of several tasks, and no baseline


@final
class TerminalReporter:
    """Prints a training as it goes; the library itself prints nothing.

    Args:
        has_bar: Whether to draw a progress bar; as the terminal can if `None`.
        explains_speed: Whether the plan says what was chosen for speed, and why.
    """

    def __init__(self, *, has_bar: bool | None = None, explains_speed: bool = False) -> None:
        self._explains_speed = explains_speed
        self._has_bar = console.is_terminal() if has_bar is None else has_bar
        self._bar: Progress | None = None
        self._bar_task: TaskID | None = None
        self._pace = Pace()
        self._star = console.sign("★", "*")  # now, as the bar puts something else before stderr
        self._last_line = 0.0
        self._has_header = False

    def on_note(self, text: str) -> None:
        """Print one line that the user should know."""
        self._print(note_text(text))

    def on_plan(self, plan: "Plan | PretrainPlan") -> None:
        """Print what is going to be done."""
        from inlay.training.reporter import Plan

        self._begin_anew()
        text = plan_text(plan) if isinstance(plan, Plan) else pretrain_plan_text(plan)
        self._print(text)
        if self._explains_speed and isinstance(plan, Plan):
            self._print(speed_text(plan))

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        """Move the bar, or print a line every ten seconds."""
        self._pace.record(step, num_steps)
        if self._has_bar:
            self._move_bar(step, num_steps, loss)
            return
        now = time.monotonic()
        if self._last_line == 0.0:
            self._last_line = now
        elif now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            share = wording.percent(step / num_steps, 0)
            self._print(
                f"step {step} of {num_steps} ({share})   loss {loss:.3f}   {self._pace.left()} left"
            )

    def on_evaluation(self, evaluation: "Evaluation") -> None:
        """Print one row of the table."""
        names = _metric_names(evaluation.metrics)
        if not self._has_header:
            self._has_header = True
            titles = [*(f"{name:>{wide}}" for name, wide in _COLUMNS)]
            titles += [f"{_title(name):>{_wide(name)}}" for name in names]
            self._print("")
            self._print("  ".join([*titles, "     left"]))
        cells = [
            f"{evaluation.epoch:>5g}", f"{evaluation.step:>6}", f"{evaluation.train_loss:>10.3f}"
        ]  # fmt: skip
        cells += [f"{_metric(name, evaluation.metrics[name]):>{_wide(name)}}" for name in names]
        star = self._star if evaluation.is_best else " "
        self._print("  ".join(cells) + f" {star} {self._pace.left():>8}")

    def on_end(self, metrics: dict[str, Any]) -> None:
        """Remove the bar."""
        self.close()

    def _begin_anew(self) -> None:
        """Forget another training that was told of before."""
        self.close()
        self._pace, self._last_line, self._has_header = Pace(), 0.0, False

    def close(self) -> None:
        """Take the bar off the screen, also when training was cut short."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            console.tell(text)

    def _move_bar(self, step: int, num_steps: int, loss: float) -> None:
        if self._bar is None:
            self._start_bar(step, num_steps)
        if self._bar is not None and self._bar_task is not None:
            self._bar.update(
                self._bar_task, completed=step, loss=f"{loss:.3f}", left=self._pace.left()
            )
            if step >= num_steps:
                self.close()

    def _start_bar(self, step: int, num_steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("step {task.completed:.0f} of {task.total:.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:.0f} %   loss {task.fields[loss]}"),
            TextColumn("{task.fields[left]} left"),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar_task = self._bar.add_task("", completed=step, total=num_steps, loss="", left="")
        self._bar.start()


@final
class Pace:
    """Estimates the time left from the steps of this process, evaluations included."""

    def __init__(self) -> None:
        self._begin: tuple[float, int] | None = None
        self._now = (0.0, 0, 0)

    def record(self, step: int, num_steps: int) -> None:
        """Take note of a step that has just ended."""
        now = time.monotonic()
        if self._begin is None:
            self._begin = (now, step)
        self._now = (now, step, num_steps)

    def left(self) -> str:
        """Return the time left as `1:50`, or `?` before two steps are done."""
        now, step, num_steps = self._now
        if self._begin is None or step <= self._begin[1]:
            return "?"
        per_step = (now - self._begin[0]) / (step - self._begin[1])
        return wording.clock(per_step * (num_steps - step))


def plan_text(plan: "Plan") -> str:
    """Return the plan in a few lines."""
    trained = plan.num_adapter_parameters + plan.num_head_parameters
    # Where weights of the base itself are trained they are counted once.
    total = max(plan.num_base_parameters, plan.num_adapter_parameters)
    if plan.num_base_parameters > plan.num_adapter_parameters:
        total += plan.num_adapter_parameters
    total += plan.num_head_parameters
    rows = ", ".join(f"{wording.count(number)} {split}" for split, number in plan.rows.items())
    labels = f"{wording.labels(plan.task, plan.num_labels)}, " if plan.num_labels else ""
    lines = [
        f"plan   {plan.task}, {labels}{rows} rows",
        f"base   {plan.base}",
        f"method {plan.method}{' ' if plan.where else ''}{plan.where}",
        (
            f"       {wording.weights(trained)} of {wording.weights(total)} weights train "
            f"({wording.percent(trained / total)}): {wording.weights(plan.num_adapter_parameters)} "
            f"in the adapter, {wording.weights(plan.num_head_parameters)} in the head"
        ),
        *wording.wrap(plan.settings, console.width(), first=" " * 7, rest=" " * 7),
        (
            f"time   about {wording.duration(plan.seconds)} for up to "
            f"{wording.plural(plan.num_steps, 'step')}"
        ),
        *_memory_lines(plan),
        f"folder {plan.run}",
        *(note_text(note) for note in plan.notes),
    ]
    return "\n".join(lines)


def _memory_lines(plan: "Plan") -> list[str]:
    if plan.peak_bytes is None:
        return []
    free = "" if plan.free_bytes is None else f", {wording.size(plan.free_bytes)} are free"
    return [f"memory about {wording.size(plan.peak_bytes)} at most{free}"]


def speed_text(plan: "Plan") -> str:
    """Return what was chosen for speed, a line or more for each topic."""
    wide = max(len(topic) for topic in plan.speed)
    lines = ["speed"]
    for topic, text in plan.speed.items():
        first = f"  {topic:<{wide}}  "
        lines += wording.wrap(text, console.width(), first=first, rest=" " * len(first))
    return "\n".join(lines)


def pretrain_plan_text(plan: "PretrainPlan") -> str:
    """Return the plan of a pretraining in a few lines."""
    tokens = ", ".join(
        f"{wording.count(number)} {split.replace('_', ' ')}"
        for split, number in plan.tokens.items()
    )
    lines = [
        f"plan   {plan.objective}: {tokens} tokens, of {wording.count(plan.vocab_size)} different",
        f"model  {plan.model}, {wording.weights(plan.num_parameters)} weights, all trained",
        *wording.wrap(
            f"{wording.plural(plan.num_steps, 'step')}, {plan.settings}", console.width(),
            first=" " * 7, rest=" " * 7,
        ),
        f"folder {plan.folder}",
        *(note_text(note) for note in plan.notes),
    ]  # fmt: skip
    return "\n".join(lines)


def note_text(text: str) -> str:
    """Return a note, wrapped."""
    return "\n".join(wording.wrap(text, console.width(), first="note   ", rest=" " * 7))


def _metric_names(metrics: dict[str, float]) -> list[str]:
    """Return the metrics that are shown, the loss first."""
    # A token's probability is the inverse of the perplexity, which the report is about.
    hidden = {"token_probability"} if "perplexity" in metrics else set()
    shown = [name for name in metrics if name not in hidden]
    return sorted(shown, key=lambda name: (name != "loss", shown.index(name)))


def _metric(name: str, value: float) -> str:
    if name == "perplexity":
        return f"{value:.1f}"
    return f"{100 * value:.1f}" if is_share(name) and name != "loss" else f"{value:.3f}"


def _title(name: str) -> str:
    return _NAMES.get(name, title(name))


def _wide(name: str) -> int:
    return max(8, len(_title(name)))


@contextmanager
def reporting(*, explains_speed: bool = False) -> Iterator[TerminalReporter]:
    """Give a reporter, and take its bar off the screen whatever happens."""
    reporter = TerminalReporter(explains_speed=explains_speed)
    try:
        yield reporter
    finally:
        reporter.close()
