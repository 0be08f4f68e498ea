"""Joint learning: one adapter for several tasks, with a head for each."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, final

from torch import Tensor, nn
from typing_extensions import override

from inlay.data.joint import FORM, Members
from inlay.data.rows import Dataset, Example
from inlay.errors import AdapterError, ConfigError, counted, did_you_mean
from inlay.metrics.headline import Headline
from inlay.tasks.base import AbstractPrediction, AbstractTask, Batch, Encoded


@final
class Joint(AbstractTask):
    """Several tasks on one adapter (multi-task learning, Caruana 1997).

    A batch holds rows of one task. Every task has its own head, loss and metrics; the state that is
    best on the mean of the tasks' metrics is kept.

    Args:
        names: Of the tasks.
        members: Settings of each, as `AbstractTask.settings` gives them.
        weights: What the loss of each is multiplied by.
        sampling: How many rows of each an epoch has, see `inlay.data.joint.SAMPLINGS`.
        temperature: For `temperature`: shares go with the size to the power of 1 over it.

    Raises:
        ConfigError: If the tasks need their base in different forms.
    """

    name: ClassVar[str] = "joint"
    form: ClassVar[str] = FORM
    better: ClassVar[str] = "mean"

    def __init__(
        self,
        *,
        names: Sequence[str],
        members: Sequence[Mapping[str, Any]],
        weights: Sequence[float],
        sampling: str = "proportional",
        temperature: float = 2.0,
    ) -> None:
        # The registry lists this task too, so it cannot be imported before it.
        from inlay.tasks.registry import task_from_settings

        self.names = tuple(names)
        self.tasks = tuple(task_from_settings(own, "joint task") for own in members)
        self.weights, self.sampling, self.temperature = tuple(weights), sampling, temperature
        other = next((task for task in self.tasks if task.needs != "encoder"), None)
        if other is not None:
            raise ConfigError(
                f"task {other.name!r} needs its base with a language model head; only tasks with "
                "heads of their own can be learnt together."
            )

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        from inlay.tasks.registry import task_for

        members = dataset.members
        if not isinstance(members, Members):
            raise ConfigError(f"{dataset.name!r} does not name several tasks.")
        plan = members.plan
        tasks = [task_for(plan.tasks[name], members.datasets[name]) for name in plan.names]
        return cls(
            names=plan.names, members=[task.settings() for task in tasks],
            weights=[plan.weights[name] for name in plan.names], sampling=plan.sampling,
            temperature=plan.temperature,
        )  # fmt: skip

    def number_of(self, name: str) -> int:
        """Return the number of a task.

        Raises:
            AdapterError: If there is none of this name.
        """
        if name not in self.names:
            raise AdapterError(
                f"no task {name!r}; this adapter has {', '.join(self.names)}."
                f"{did_you_mean(name, self.names)}"
            )
        return self.names.index(name)

    @property
    @override
    def headline(self) -> Headline:
        return Headline("mean_row_score")

    @override
    def settings(self) -> dict[str, Any]:
        return {
            "task": self.name, "names": list(self.names),
            "members": [task.settings() for task in self.tasks], "weights": list(self.weights),
            "sampling": self.sampling, "temperature": self.temperature,
        }  # fmt: skip

    @override
    def build_head(self, width: int) -> nn.Module:
        heads = [task.build_head(width) for task in self.tasks]
        return nn.ModuleList([head for head in heads if head is not None])

    @override
    def kind_of(self, row: Encoded) -> int:
        number: int = row.extra["joint"]
        return number

    @override
    def rows_per_epoch(self, sizes: Sequence[int]) -> list[int]:
        power = {"proportional": 1.0, "temperature": 1 / self.temperature, "round-robin": 0.0}
        shares = [size ** power[self.sampling] for size in sizes]
        return [max(1, round(sum(sizes) * share / sum(shares))) for share in shares]

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        encoded = []
        for number, task in enumerate(self.tasks):
            own = [row for row, example in enumerate(examples) if _number(example) == number]
            found = task.encode([examples[row] for row in own], tokenizer, max_length=max_length)
            encoded += [
                Encoded(row.features, row.target, own[row.row], {**row.extra, "joint": number})
                for row in found
            ]
        return sorted(encoded, key=lambda row: row.row)

    @override
    def reading_notes(self, rows: Sequence[Encoded], *, max_length: int) -> list[str] | None:
        notes: list[str] = []
        for number, (name, task) in enumerate(zip(self.names, self.tasks, strict=True)):
            own = [row for row in rows if self.kind_of(row) == number]
            said = task.reading_notes(own, max_length=max_length)
            if said is None:
                full = len({row.row for row in own if row.length >= max_length})
                fills = f"{counted(full, 'row')} as long as {max_length} tokens, perhaps cut"
                said = [fills] if full else []
            notes += [f"{name}: {note}" for note in said]
        return notes

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        number = self.kind_of(rows[0])
        batch = self.tasks[number].collate(rows, tokenizer)
        return Batch(batch.inputs, batch.targets, batch.shared, number)

    @override
    def scores(self, model: nn.Module, head: nn.Module | None, batch: Batch) -> Tensor:
        if not isinstance(head, nn.ModuleList):
            raise ValueError("joint tasks have a head each")
        return self.tasks[batch.kind].scores(model, head[batch.kind], batch)

    @override
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        task = self.tasks[batch.kind]
        loss = task.loss(scores, batch, label_smoothing=label_smoothing)
        return loss * self.weights[batch.kind]

    @override
    def for_evaluation(
        self, model: nn.Module, head: nn.Module | None, rows: Sequence[Encoded], tokenizer: Any
    ) -> "Joint":
        if not isinstance(head, nn.ModuleList):
            raise ValueError("joint tasks have a head each")
        ready = copy.copy(self)
        ready.tasks = tuple(
            task.for_evaluation(model, own, mine, tokenizer)
            if (mine := [row for row in rows if self.kind_of(row) == number])
            else task
            for number, (task, own) in enumerate(zip(self.tasks, head, strict=True))
        )
        return ready

    @override
    def keep(self, scores: Tensor, batch: Batch, rows: Sequence[Encoded]) -> list[Tensor]:
        return self.tasks[batch.kind].keep(scores, batch, rows)

    @override
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        found: dict[str, float] = {}
        losses = []
        for number, name in enumerate(self.names):
            scores = self.tasks[number].metrics(*self._own(number, kept, rows)[:2])
            found[name] = scores[self.tasks[number].better]
            losses.append(scores["loss"])
        mean = sum(found.values()) / len(found)
        return {"mean": mean, **found, "loss": sum(losses) / len(losses)}

    @override
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        answers: dict[int, AbstractPrediction] = {}
        for number, task in enumerate(self.tasks):
            own_kept, own_rows, places = self._own(number, kept, rows)
            own = [examples[place] for place in places]
            answers |= dict(zip(places, task.decode(own_kept, own_rows, own), strict=True))
        return [answers[place] for place in range(len(examples))]

    @override
    def calibrated(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> "Joint":
        tasks = [
            task.calibrated(*self._own(number, kept, rows)[:2])
            for number, task in enumerate(self.tasks)
        ]
        return self.with_tasks(tasks)

    def with_tasks(self, tasks: Sequence[AbstractTask]) -> "Joint":
        """Return the same mixture of other tasks, in the order of the names."""
        return Joint(
            names=self.names, members=[task.settings() for task in tasks], weights=self.weights,
            sampling=self.sampling, temperature=self.temperature,
        )  # fmt: skip

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        task = self.tasks[_number(example)]
        return task.headline.row_value(task.counts(example, prediction)), 1.0

    @override
    def report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        """Return each task's own report under `tasks`, and their headlines side by side."""
        reports: dict[str, dict[str, Any]] = {}
        for number, (name, task) in enumerate(zip(self.names, self.tasks, strict=True)):
            pairs = [
                pair
                for pair in zip(examples, predictions, strict=True)
                if _number(pair[0]) == number
            ]
            own, answers = [row for row, _ in pairs], [answer for _, answer in pairs]
            reports[name] = task.full_report(own, answers)
        values = {f"{name}_{own['metric']}": own[own["metric"]] for name, own in reports.items()}
        return {**values, "tasks": reports}

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        """Put the strongest baseline of each task together; one name stands for all of them."""
        best: dict[int, AbstractPrediction] = {}
        for number, task in enumerate(self.tasks):
            places = [place for place, row in enumerate(test) if _number(row) == number]
            own = [test[place] for place in places]
            seen = [row for row in train if _number(row) == number]
            found = task.baselines(seen, own)
            value = _value_on(task, own)
            strongest = max(found, key=lambda name: value(found[name]))
            best |= dict(zip(places, found[strongest], strict=True))
        return {"best_of_each_task": [best[place] for place in range(len(test))]}

    def _own(
        self, number: int, kept: Sequence[Tensor], rows: Sequence[Encoded]
    ) -> tuple[list[Tensor], list[Encoded], list[int]]:
        """Return what belongs to one task, rows counted from 0, and the examples' numbers."""
        own = [
            (tensor, row)
            for tensor, row in zip(kept, rows, strict=True)
            if self.kind_of(row) == number
        ]
        places = sorted({row.row for _, row in own})
        index = {place: at for at, place in enumerate(places)}
        renumbered = [
            Encoded(row.features, row.target, index[row.row], row.extra) for _, row in own
        ]
        return [tensor for tensor, _ in own], renumbered, places


def _number(example: Example) -> int:
    number: int = (example.parts or {})["joint"]
    return number


def _value_on(
    task: AbstractTask, rows: Sequence[Example]
) -> Callable[[Sequence[AbstractPrediction]], float]:
    """Return what scores the answers to some rows; more is better."""

    def value(answers: Sequence[AbstractPrediction]) -> float:
        counts = [task.counts(row, answer) for row, answer in zip(rows, answers, strict=True)]
        found = task.headline.value(counts)
        return -found if task.headline.lower_is_better else found

    return value
