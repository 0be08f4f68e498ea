"""What a task must supply so that every verb works for it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor, nn

from inlay.data.rows import Example


@final
@dataclass(frozen=True, slots=True)
class Encoded:
    """One example as token ids, with its target if it has one."""

    features: dict[str, list[int]]
    target: int | None

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.features["input_ids"])


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Padded examples: `inputs` are the base's keyword arguments, each `(rows, positions)`."""

    inputs: dict[str, Tensor]
    targets: Tensor | None

    def to(self, device: Any) -> "Batch":
        """Return the batch on a device."""
        targets = None if self.targets is None else self.targets.to(device)
        return Batch({key: value.to(device) for key, value in self.inputs.items()}, targets)


@final
@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer in the task's own words: the label, and how probable each label is."""

    label: str
    probabilities: dict[str, float]

    @property
    def confidence(self) -> float:
        """The probability of the label that was chosen."""
        return self.probabilities[self.label]


class AbstractTask(ABC):
    """What an adapter is for: raw texts in, answers in the task's own words out."""

    name: ClassVar[str]
    """The word for the task on the command line and in files."""

    better: ClassVar[str]
    """The metric that chooses the best state and stops training; more is better."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what `task_from_settings` needs to build the task again, as plain data."""

    @abstractmethod
    def build_head(self, width: int) -> nn.Module:
        """Make a fresh head for hidden states of this many channels."""

    @abstractmethod
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        """Turn examples into token ids, cut to `max_length` tokens."""

    @abstractmethod
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        """Pad rows to the longest of them."""

    @abstractmethod
    def scores(self, model: nn.Module, head: nn.Module, batch: Batch) -> Tensor:
        """Run the base and the head; the result has one row for each example."""

    @abstractmethod
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        """Return the mean loss of a batch whose targets are known, a scalar."""

    @abstractmethod
    def decode(self, scores: Tensor) -> list[Prediction]:
        """Turn scores into answers."""

    @abstractmethod
    def metrics(self, scores: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the metrics of a split by name, among them the one named by `better`."""

    @abstractmethod
    def calibrated(self, scores: Tensor, targets: Tensor) -> "AbstractTask":
        """Return the task with its probabilities fitted to a validation split."""


Card = Mapping[str, Any]
"""What is kept beside an adapter's weights."""
