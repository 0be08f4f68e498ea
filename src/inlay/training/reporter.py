"""How a training tells what it is doing; the command line and notebooks listen, tests count."""

from dataclasses import dataclass, field
from typing import Any, Protocol, final


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is going to be done, before anything is.

    Attributes:
        run: The run's folder.
        task: The task's name.
        base: The base's name and where it was found.
        method: The method with its settings that differ from the defaults.
        where: Placement in words; empty for a comparator.
        num_adapter_parameters: Weights of the adapter that will be trained.
        num_head_parameters: Weights of the head.
        num_base_parameters: Weights of the base.
        rows: Split -> rows.
        num_labels: Labels or tags that the task answers with.
        num_steps: Steps of the optimiser, if training is not stopped early.
        seconds: Estimated time for training, in seconds.
        settings: Learning rate, epochs and the like, in words.
        peak_bytes: Memory that training takes at most, where that can be predicted.
        free_bytes: Memory that is free now, if the system tells.
        speed: Topic -> what was chosen for speed, and why.
        notes: What was decided and should be known.
    """

    run: str
    task: str
    base: str
    method: str
    where: str
    num_adapter_parameters: int
    num_head_parameters: int
    num_base_parameters: int
    rows: dict[str, int]
    num_labels: int
    num_steps: int
    seconds: float
    settings: str
    peak_bytes: int | None = None
    free_bytes: int | None = None
    speed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainPlan:
    """What a pretraining is going to do, before it does.

    Attributes:
        folder: Where the model goes.
        objective: `mlm`, `clm`, `denoise` or `infill`.
        model: Architecture or base, in words.
        num_parameters: Weights, all of which are trained.
        vocab_size: Tokens of the tokenizer.
        tokens: Split -> tokens of text.
        num_steps: Steps of the optimiser.
        settings: Learning rate, batch and the like, in words.
        notes: What was decided and should be known.
    """

    folder: str
    objective: str
    model: str
    num_parameters: int
    vocab_size: int
    tokens: dict[str, int]
    num_steps: int
    settings: str
    notes: list[str] = field(default_factory=list)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One row of the table: how well the adapter did after some steps."""

    epoch: float
    step: int
    train_loss: float
    metrics: dict[str, float]
    is_best: bool


class Reporter(Protocol):
    """Receives what happens, in this order; every method may do nothing."""

    def on_note(self, text: str) -> None:
        """Take one line that the user should know."""

    def on_plan(self, plan: Plan | PretrainPlan) -> None:
        """Take the plan, before training starts."""

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        """Take note of one step of the optimiser."""

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Take the metrics on validation."""

    def on_end(self, metrics: dict[str, Any]) -> None:
        """Take what `metrics.json` holds."""


@final
class SilentReporter:
    """Listens to nothing."""

    def on_note(self, text: str) -> None:
        """Ignore the note."""

    def on_plan(self, plan: Plan | PretrainPlan) -> None:
        """Ignore the plan."""

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        """Ignore the step."""

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Ignore the evaluation."""

    def on_end(self, metrics: dict[str, Any]) -> None:
        """Ignore the metrics."""
