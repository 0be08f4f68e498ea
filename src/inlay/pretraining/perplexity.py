"""How well text is predicted: perplexity, and what it takes no model to reach."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inlay.pretraining.objectives import IGNORED, AbstractObjective, Batch
from inlay.pretraining.stream import Stream

_MOST = 512
"""Held-out sequences that are measured; their perplexity is known to about one percent."""

_SEED = 20_000
"""What is hidden in held-out text is the same at every measurement and in every run."""


def logits_of(model: Any, batch: Batch) -> Tensor:
    """Run a model on a batch; a decoder is given the answer shifted by one.

    Returns:
        `[rows, length, vocabulary]`.
    """
    inputs = {name: value.to(model.device) for name, value in batch.inputs.items()}
    if model.config.is_encoder_decoder:
        begin = model.config.decoder_start_token_id
        pad = model.config.pad_token_id or 0
        labels = batch.labels.to(model.device)
        first = labels.new_full((len(labels), 1), begin)
        shifted = torch.cat([first, labels[:, :-1]], dim=1)
        inputs["decoder_input_ids"] = shifted.masked_fill(shifted == IGNORED, pad)
    logits: Tensor = model(**inputs).logits
    return logits


@torch.no_grad()
def measure(
    model: Any, objective: AbstractObjective, stream: Stream, *, batch_size: int, autocast: bool
) -> dict[str, float]:
    """Measure a model on held-out text.

    Only text counts: special tokens such as sentinels and ends of documents are neither asked for
    nor among the tokens that share the probability. So all objectives are measured alike, and
    like the baselines.

    Returns:
        `loss`, the mean of -ln p over the tokens asked for, and `perplexity`, its exponential.
    """
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    special = objective.vocabulary.is_special.to(model.device)
    for batch in held_out_batches(objective, stream, batch_size=batch_size):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=autocast):
            logits = logits_of(model, batch)
        labels = _text_only(objective, batch.labels).to(logits.device)
        logits[..., : objective.vocabulary.size][..., special] = -math.inf
        total += float(
            F.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED,
                reduction="sum",
            )
        )  # fmt: skip
        count += int((labels != IGNORED).sum())
    model.train(was_training)
    loss = total / count
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}


def baselines(objective: AbstractObjective, train: Tensor, stream: Stream) -> dict[str, float]:
    """Return the perplexities that take no model.

    Args:
        objective: Decides which held-out tokens are asked for.
        train: Tokens of the training text.
        stream: Held-out text.

    Returns:
        `uniform`: all tokens equally likely. `unigram`: each as likely as it is frequent in the
        training text, every token counted once more so that none is impossible.
    """
    known = objective.vocabulary
    counts = torch.bincount(train.long(), minlength=known.size)[: known.size].double() + 1
    counts[known.is_special] = 0
    log_p = (counts / counts.sum()).log()
    asked = [
        labels[labels != IGNORED]
        for batch in held_out_batches(objective, stream, batch_size=16)
        for labels in [_text_only(objective, batch.labels)]
    ]
    loss = -float(log_p[torch.cat(asked)].mean())
    return {"uniform": float(len(known.ordinary)), "unigram": math.exp(loss)}


def held_out_indices(stream: Stream) -> Sequence[int]:
    """Return the sequences that are measured: all, or evenly spaced ones of a long text."""
    number = len(stream)
    if number <= _MOST:
        return range(number)
    return [index * number // _MOST for index in range(_MOST)]


def held_out_batches(
    objective: AbstractObjective, stream: Stream, *, batch_size: int
) -> list[Batch]:
    """Return what is asked of held-out text; the same whatever the batch size."""
    batches = []
    indices = held_out_indices(stream)
    for start in range(0, len(indices), batch_size):
        made = [_single(objective, stream, index) for index in indices[start : start + batch_size]]
        batches.append(_join(made, objective.vocabulary.pad))
    return batches


def _single(objective: AbstractObjective, stream: Stream, index: int) -> Batch:
    generator = torch.Generator().manual_seed(_SEED + index)
    return objective.batch([stream.row(index)], generator)


def _join(batches: Sequence[Batch], pad: int) -> Batch:
    """Put batches of one row together, padded on the right."""
    inputs = {
        name: _pad([batch.inputs[name][0] for batch in batches], pad if name == "input_ids" else 0)
        for name in batches[0].inputs
    }
    return Batch(inputs=inputs, labels=_pad([batch.labels[0] for batch in batches], IGNORED))


def _pad(rows: list[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def _text_only(objective: AbstractObjective, labels: Tensor) -> Tensor:
    is_special = objective.vocabulary.is_special[labels.clamp(min=0)]
    return labels.masked_fill(is_special, IGNORED)
