"""What a task must supply so that every verb works for it."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, final

from torch import Tensor, nn

from inlay.data.rows import Dataset, Example
from inlay.metrics.headline import Headline
from inlay.tasks.option_types import When

BaseKind = Literal["encoder", "masked", "decoder", "encoder-decoder"]
"""What a task needs of a base: hidden states, or the head of a masked, left-to-right or
encoder-decoder language model."""


@final
@dataclass(frozen=True, slots=True)
class Encoded:
    """One example, or one window of it, as token ids.

    Args:
        features: What a tokenizer gives, each a list with one number for each token.
        target: What is to be learnt, in the task's own form; `None` if not known.
        row: Number of the example among those encoded together.
        extra: What decoding needs besides, such as the characters that tokens stand for.
    """

    features: dict[str, list[int]]
    target: Any = None
    row: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.features["input_ids"])


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Padded rows.

    Args:
        inputs: The base's keyword arguments, each `(rows, positions)`.
        targets: What is to be learnt, if it is known of all rows.
        shared: The same as `inputs` of texts that belong to all rows, such as descriptions of
            labels.
        kind: Which of several tasks the rows are for, where there are several.
    """

    inputs: dict[str, Tensor]
    targets: Tensor | None
    shared: dict[str, Tensor] = field(default_factory=dict)
    kind: int = 0

    def to(self, device: Any) -> "Batch":
        """Return the batch on a device."""
        targets = None if self.targets is None else self.targets.to(device)
        inputs, shared = (
            {key: value.to(device) for key, value in part.items()}
            for part in (self.inputs, self.shared)
        )
        return Batch(inputs, targets, shared, self.kind)


class AbstractPrediction(ABC):
    """An answer in the task's own words."""

    @property
    @abstractmethod
    def answer(self) -> str:
        """The answer as one text."""

    @property
    @abstractmethod
    def confidence(self) -> float:
        """How sure the answer is, in [0, 1]."""

    @abstractmethod
    def record(self, top: int) -> dict[str, Any]:
        """Return the answer as plain data, with up to `top` alternatives where there are any."""

    def line(self, top: int) -> str:
        """Return the answer as one line for people."""
        return f"{self.answer}  {self.confidence:.2f}"

    def columns(self, top: int) -> dict[str, Any]:
        """Return what a file of answers gets for it: column -> value."""
        return {"predicted": self.answer, "confidence": round(self.confidence, 6)}


class AbstractTask(ABC):
    """What an adapter is for: raw texts in, answers in the task's own words out."""

    name: ClassVar[str]
    """The word for the task on the command line and in files."""

    form: ClassVar[str]
    """The form of rows that predictions are asked for in, see `inlay.data.forms`."""

    needs: ClassVar[BaseKind] = "encoder"
    """What it needs of a base."""

    repeats_rows: ClassVar[bool] = True
    """Whether training gives the base the same rows in every epoch; not if they are altered."""

    options: ClassVar[Mapping[str, When]] = {}
    """Settings that a user may give by name, see `inlay.tasks.options`, and when."""

    @property
    @abstractmethod
    def better(self) -> str:
        """The metric on validation that chooses the best state; more is better."""

    @property
    @abstractmethod
    def headline(self) -> Headline:
        """The metric that reports and comparisons are about."""

    @classmethod
    @abstractmethod
    def for_dataset(cls, dataset: Dataset) -> Self:
        """Build the task for a data set, with its labels and the like."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what `task_from_settings` needs to build the task again, as plain data."""

    def check_options(self, given: Collection[str]) -> None:
        """Refuse options that do not fit one another, or have no effect beside the others.

        Args:
            given: Names of those that somebody gave; all are set already.

        Raises:
            ConfigError: If there is one.
        """
        return

    @abstractmethod
    def build_head(self, width: int) -> nn.Module | None:
        """Make a fresh head for hidden states of this many channels; `None` if the base has it."""

    @abstractmethod
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        """Turn examples into rows of at most `max_length` tokens, in the order of the examples."""

    def training_rows(
        self, rows: Sequence[Encoded], *, model: nn.Module, tokenizer: Any, max_length: int
    ) -> list[Encoded]:
        """Return the rows that training sees, from those that train was encoded as.

        Args:
            rows: As `encode` gave them.
            model: The base with its adapter active, to be tried and left as it is.
            tokenizer: Of the base.
            max_length: Tokens of a row, at most.

        Raises:
            ConfigError: If the base or the adapter does not suit what was asked.
        """
        return list(rows)

    def tokenizer_notes(self, tokenizer: Any) -> list[str]:
        """Return what is to be said of how the task does with this tokenizer."""
        return []

    def reading_notes(self, rows: Sequence[Encoded], *, max_length: int) -> list[str] | None:
        """Return what is to be said of how rows were read; `None` to have cut rows counted."""
        return None

    @abstractmethod
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        """Pad rows to the longest of them."""

    @abstractmethod
    def scores(self, model: nn.Module, head: nn.Module | None, batch: Batch) -> Tensor:
        """Run the base and the head; the first dimension are the rows."""

    def for_evaluation(
        self, model: nn.Module, head: nn.Module | None, rows: Sequence[Encoded], tokenizer: Any
    ) -> Self:
        """Return the task with what all batches of one evaluation share, computed once.

        Args:
            model: The base, with the weights that the whole evaluation uses.
            head: The adapter's head, if the task has one.
            rows: All rows of the evaluation, at least one.
            tokenizer: Pads texts.
        """
        return self

    @abstractmethod
    def loss(self, scores: Tensor, batch: Batch, *, label_smoothing: float) -> Tensor:
        """Return the mean loss of a batch whose targets are known, a scalar."""

    def kind_of(self, row: Encoded) -> int:
        """Return the kind of a row; a batch holds rows of one kind."""
        return 0

    def rows_per_epoch(self, sizes: Sequence[int]) -> list[int]:
        """Return how many rows of each kind an epoch has, given how many there are."""
        return list(sizes)

    def keep(self, scores: Tensor, batch: Batch, rows: Sequence[Encoded]) -> list[Tensor]:
        """Return what evaluation needs of each row's scores, without padding."""
        return list(scores)

    @abstractmethod
    def metrics(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> dict[str, float]:
        """Return the metrics of validation rows by name, `loss` and `better` among them."""

    @abstractmethod
    def decode(
        self, kept: Sequence[Tensor], rows: Sequence[Encoded], examples: Sequence[Example]
    ) -> list[AbstractPrediction]:
        """Turn what was kept of the rows into one answer for each example."""

    def calibrated(self, kept: Sequence[Tensor], rows: Sequence[Encoded]) -> "AbstractTask":
        """Return the task with what is fitted to a validation split: temperature, threshold."""
        return self

    @abstractmethod
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        """Return the numbers of one row whose sums make the headline metric."""

    def report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        """Return what a report says besides the headline metric and its interval."""
        return {}

    def full_report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        """Return the headline metric with a 95 % interval, and what else the task reports."""
        name = self.headline.name
        counts = [self.counts(row, p) for row, p in zip(examples, predictions, strict=True)]
        return {
            "metric": name,
            name: self.headline.value(counts),
            f"{name}_ci": list(self.headline.interval(counts)),
            **self.report(examples, predictions),
            "n": len(examples),
        }

    @abstractmethod
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        """Return the answers of methods that cost nothing, by name."""

    def token_baselines(
        self, train: Sequence[Encoded], test: Sequence[Encoded], tokenizer: Any, number: int
    ) -> dict[str, list[AbstractPrediction]]:
        """Return the answers of methods that cost nothing and count tokens, by name.

        Args:
            train: Encoded rows.
            test: Encoded rows.
            tokenizer: Of the base.
            number: Examples of test.
        """
        return {}

    def check_measurable(self, examples: Sequence[Example], source: str) -> None:
        """Refuse test rows that lack what an option needs to be measured, before training.

        Raises:
            DataError: If they do.
        """
        return

    def check_known(self, examples: Sequence[Example], source: str) -> None:
        """Refuse rows that the task cannot be measured on, such as labels it does not know.

        Raises:
            DataError: If there is one.
        """
        return


Card = Mapping[str, Any]
"""What is kept beside an adapter's weights."""
