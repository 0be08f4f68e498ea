"""What a training works on, and how far it is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from inlay.adapters.entry import Entry
from inlay.evaluation.scoring import ENOUGH, POSITIONS
from inlay.tasks.base import AbstractTask, Encoded
from inlay.training.batches import count_steps, mixture
from inlay.training.checkpoint import Checkpoints
from inlay.training.config import TrainConfig
from inlay.training.interrupt import StopRequest
from inlay.training.reporter import Reporter


@final
@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a training is; plain data, part of every checkpoint."""

    epoch: int = 0
    group: int = 0
    """Groups of batches done in this epoch."""
    step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_score: float = -math.inf
    best_loss: float = math.inf
    best_step: int = 0
    best_epoch: int = 0
    without_gain: int = 0
    num_evaluations: int = 0
    evaluated_step: int = 0
    """The last step after which validation was measured."""
    is_done: bool = False
    seconds: float = 0.0
    recent: list[list[int]] = field(default_factory=list)
    """Row numbers of the last three steps, to be named if the loss is not a number."""

    def is_over(self) -> bool:
        """Tell whether there is nothing left to train."""
        return self.is_done


@final
@dataclass(kw_only=True)
class Training:
    """All that the loop works on."""

    config: TrainConfig
    task: AbstractTask
    model: nn.Module
    entry: Entry
    head: nn.Module | None
    tokenizer: Any
    train: Sequence[Encoded]
    validation: Sequence[Encoded]
    row_name: Callable[[int], str]
    optimizer: Optimizer
    schedule: LambdaLR
    accelerator: Accelerator
    trains_base: bool
    trunk_dropout: bool
    """Whether a base that is not trained runs with its dropout all the same."""
    autocast: bool
    checkpoints: Checkpoints
    reporter: Reporter
    stop: StopRequest
    run: str
    micro_batch: int
    """Rows that go through the model at once; fewer than a batch if memory does not suffice."""
    on_checkpoint: Callable[[], None] = lambda: None
    """Called before a checkpoint is written."""

    @property
    def num_steps(self) -> int:
        """Steps of the optimiser in the whole training."""
        return count_steps(self.config, mixture(self.task, self.train)[1])

    @property
    def scored_at_once(self) -> int:
        """Positions of a batch in evaluation: those of a step, as that was seen to fit, or few."""
        longest = max(row.length for row in self.train)
        return min(POSITIONS, max(ENOUGH, self.micro_batch * longest))
