"""What a training will take, time and memory, from a few steps that change nothing."""

import time
from typing import Any

from inlay.errors import is_out_of_memory
from inlay.tasks.similarity import Similarity
from inlay.training.batches import usual_rows
from inlay.training.checkpoint import random_state, restore_random_state
from inlay.training.memory import Memory, free, note_on, predict_memory
from inlay.training.prepare import Prepared
from inlay.training.state import Training
from inlay.training.step import forward_backward, half_of, set_modes

_SAFE = 1 / 8
"""Share of free memory that a rough count may come to, if no step is to be tried."""

_STATES_OF_BLOCK = 24
"""Hidden states that a block keeps for its backward pass, the wider ones of the feed-forward
counted as several."""


def estimate_memory(prepared: Prepared) -> Memory | None:
    """Predict the peak of memory, and let fewer rows go through the model at once if need be."""
    with prepared.computing():
        memory = predict_memory(prepared.training)
    if memory is not None:
        prepared.training.micro_batch = memory.micro_batch
    prepared.notes += note_on(memory, prepared.training.config)
    return memory


def fit_to_memory(prepared: Prepared) -> None:
    """Do as `estimate_memory`, unless there is far more memory than needed.

    So that many trainings need not each run its steps.
    """
    training = prepared.training
    available, task = free(training.accelerator.device), training.task
    # Others compute more than a row's own tokens: words of a vocabulary, names of labels.
    is_counted = task.needs == "encoder" and not isinstance(task, Similarity)
    if available is None or (is_counted and _rough_bytes(prepared) <= available * _SAFE):
        return
    estimate_memory(prepared)


def _rough_bytes(prepared: Prepared) -> float:
    """Count generously what a step on the longest batch holds, by the sizes of the base alone."""
    training, sites = prepared.training, prepared.adapters.sites
    whole: Any = training.model.config
    config = whole.get_text_config()
    longest = max(row.length for row in training.train)
    heads = getattr(config, "num_attention_heads", 16)
    blocks = [site for site in sites if site.kind == "block"]
    by_block = sum(_STATES_OF_BLOCK * site.width + 3 * heads * longest for site in blocks)
    return 4.0 * training.config.batch_size * longest * by_block


def estimate_seconds(prepared: Prepared) -> float:
    """Measure one step on rows of usual length and multiply; nothing is changed by it."""
    training, replay = prepared.training, prepared.replay
    device = training.accelerator.device
    state = random_state(device)
    set_modes(training)
    with prepared.computing():
        first = later = _step_seconds(training)
    if replay is not None:
        later = _step_seconds(training)
        first = later if replay.num_reused else first
        # Rounding depends on the batch: what training computes first is what it keeps.
        replay.forget()
    training.optimizer.zero_grad()
    restore_random_state(state, device)
    config, steps = training.config, training.num_steps
    # Evaluation is a forward pass over validation: a third of a step's cost for each batch.
    evaluations = config.epochs
    if config.eval_every is not None:
        evaluations += steps // config.eval_every
    batches = len(training.validation) / config.batch_size / 3
    in_first = steps * config.gradient_accumulation / config.epochs + batches
    all_epochs = steps * config.gradient_accumulation + batches * evaluations
    return first * in_first + later * (all_epochs - in_first)


def _step_seconds(training: Training) -> float:
    """Run a batch of usual length forwards and backwards a few times; return the least time."""
    lengths = [row.length for row in training.train]
    rows = usual_rows(lengths, training.config.batch_size)
    times: list[float] = []
    micro_batch = training.micro_batch
    while len(times) < 3:
        started = time.monotonic()
        try:
            forward_backward(training, rows, micro_batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            micro_batch = half_of(micro_batch, training.train[rows[-1]].length)
            continue
        times.append(time.monotonic() - started)
    return min(times)
