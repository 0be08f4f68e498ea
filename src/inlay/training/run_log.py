"""The log of a run: every event on a line of its own, each step and evaluation once."""

import dataclasses
import json
from typing import Any, final

from inlay.store.atomic import write_atomically
from inlay.training.reporter import Evaluation, Plan, PretrainPlan, Reporter
from inlay.training.run_folder import LOG_FILE, RunFolder

_EVERY = 10
"""Steps from one line about the loss to the next."""


@final
class RunLog:
    """A reporter that passes events on and writes them to the run's log.

    Args:
        reporter: Is told everything as well.
        folder: The run's folder.
    """

    def __init__(self, reporter: Reporter, folder: RunFolder) -> None:
        self._reporter = reporter
        self._folder = folder

    def on_note(self, text: str) -> None:
        """Log the note."""
        self._log(event="note", text=text)
        self._reporter.on_note(text)

    def on_plan(self, plan: Plan | PretrainPlan) -> None:
        """Log the plan."""
        self._log(event="plan", **dataclasses.asdict(plan))
        self._reporter.on_plan(plan)

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        """Log the loss of every tenth step."""
        if step % _EVERY == 0 or step == num_steps:
            self._log(event="step", step=step, loss=round(loss, 5))
        self._reporter.on_step(step, num_steps, loss)

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Log the evaluation."""
        self._log(event="evaluation", **dataclasses.asdict(evaluation))
        self._reporter.on_evaluation(evaluation)

    def on_end(self, metrics: dict[str, Any]) -> None:
        """Log that the run is complete; its metrics have their own file."""
        self._log(event="end")
        self._reporter.on_end(metrics)

    def _log(self, **event: Any) -> None:
        self._folder.path.mkdir(parents=True, exist_ok=True)
        self._folder.append_log(**event)


def rewind_log(folder: RunFolder, *, step: int, num_evaluations: int) -> None:
    """Remove what a killed process logged after its last checkpoint, as it will be done again.

    A line of which only a part was written goes as well.

    Args:
        folder: The run's folder.
        step: The checkpoint's step.
        num_evaluations: Evaluations that had been made when the checkpoint was written.
    """
    path = folder.path / LOG_FILE
    if not path.is_file():
        return
    kept: list[str] = []
    evaluations = 0
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["event"] == "step" and event["step"] > step:
            continue
        if event["event"] == "evaluation":
            evaluations += 1
            if evaluations > num_evaluations:
                continue
        kept.append(line + "\n")
    write_atomically(path, "".join(kept))
