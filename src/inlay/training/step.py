"""One step: forward and backward over the rows of a batch, in parts if need be, and an update."""

import itertools
import math
import time
from collections.abc import Iterator, Sequence

import torch

from inlay.errors import ResourceError, TrainingError, is_out_of_memory
from inlay.tasks.base import Encoded
from inlay.training.state import Progress, Training


def set_modes(training: Training) -> None:
    """Train what is trained; a frozen trunk runs as it will be used, without dropout by default."""
    training.model.train(training.trains_base or training.trunk_dropout)
    training.entry.train()


def run_step(training: Training, progress: Progress, rows: list[int]) -> float:
    """Run forward and backward over the rows and update once; return the mean loss.

    Args:
        training: What is trained; has smaller parts from now on if memory runs out.
        progress: Is moved on by a step.
        rows: Numbers of the rows, of all parts and processes.

    Raises:
        TrainingError: If the loss or a gradient is not a number; nothing was updated then.
        ResourceError: If memory does not suffice for a single row.
    """
    started = time.monotonic()
    progress.recent = [*progress.recent, rows][-3:]
    while True:
        try:
            loss = forward_backward(training, rows, training.micro_batch)
            break
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            _halve(training, rows)
    if not math.isfinite(loss):
        raise not_a_number(training, progress, f"the loss is {loss} at")
    parameters = [p for group in training.optimizer.param_groups for p in group["params"]]
    norm = training.accelerator.clip_grad_norm_(parameters, training.config.max_grad_norm)
    if norm is not None and not math.isfinite(norm):
        raise not_a_number(training, progress, f"the gradient is {norm:g} at")
    training.optimizer.step()
    training.schedule.step()
    training.optimizer.zero_grad()
    progress.step += 1
    progress.group += 1
    progress.loss_sum += loss
    progress.loss_count += 1
    progress.seconds += time.monotonic() - started
    return loss


def forward_backward(training: Training, rows: list[int], micro_batch: int) -> float:
    """Sum the gradients of parts of a batch, weighted so that they equal those of the whole.

    Args:
        training: What is trained.
        rows: Numbers of the rows of the batch; each process takes its share.
        micro_batch: Rows of a part, at most.

    Returns:
        The mean loss of the rows of this process, weighted by its share of the batch.
    """
    accelerator = training.accelerator
    own = rows[accelerator.process_index :: accelerator.num_processes]
    training.optimizer.zero_grad()
    total = 0.0
    for chosen in _parts(training, own, micro_batch):
        batch = training.task.collate(chosen, training.tokenizer).to(accelerator.device)
        # Entered anew at every step: autocast keeps casts of weights for as long as it is open.
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=training.autocast):
            scores = training.task.scores(training.model, training.head, batch)
        loss = training.task.loss(
            scores.float(), batch, label_smoothing=training.config.label_smoothing
        )
        share = loss * (len(chosen) / len(rows))
        accelerator.backward(share)
        total += float(share.detach())
    if accelerator.num_processes > 1:
        for group in training.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = accelerator.reduce(parameter.grad, "sum")
    return total


def _parts(training: Training, rows: Sequence[int], micro_batch: int) -> Iterator[list[Encoded]]:
    """Cut the rows of a step into what goes through the model at once: rows of one kind."""
    encoded = [training.train[row] for row in rows]
    for _, own in itertools.groupby(encoded, key=training.task.kind_of):
        same = list(own)
        for start in range(0, len(same), micro_batch):
            yield same[start : start + micro_batch]


def _halve(training: Training, rows: list[int]) -> None:
    training.optimizer.zero_grad()
    longest = max(training.train[row].length for row in rows)
    training.micro_batch = half_of(training.micro_batch, longest)
    training.reporter.on_note(
        f"out of memory at {longest} tokens: {training.micro_batch} rows at a time from here on, "
        "summed up to the same batch"
    )


def half_of(micro_batch: int, longest: int) -> int:
    """Return how many rows to try next after memory ran out.

    Args:
        micro_batch: Rows that were too many.
        longest: Tokens of the longest of them, for the message.

    Raises:
        ResourceError: If it was a single row.
    """
    if micro_batch == 1:
        raise ResourceError(
            f"memory does not suffice for one row of {longest} tokens. Lower --max-length, use "
            "fewer --layers, or take a smaller --base."
        )
    return math.ceil(micro_batch / 2)


def not_a_number(training: Training, progress: Progress, what: str) -> TrainingError:
    """Return an error that names the rows of the last steps, and the checkpoint before them."""
    names = [training.row_name(row) for rows in progress.recent for row in rows]
    saved = training.checkpoints.paths()
    kept = f" The last good checkpoint is {saved[-1].name}." if saved else ""
    step = progress.step if what.endswith("after") else progress.step + 1
    return TrainingError(
        f"{what} step {step}. Rows of the last "
        f"{len(progress.recent)} batches: {', '.join(names[:12])}"
        f"{' ...' if len(names) > 12 else ''}. Lower the learning rate "
        f"({training.config.learning_rate:g}) or use --precision float32.{kept}"
    )
