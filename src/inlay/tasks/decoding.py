"""How texts are written token after token: the options that tasks share, and the writing."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inlay.adapters.bank import Adapters
from inlay.errors import ConfigError, DataError, counted
from inlay.tasks.base import AbstractPrediction
from inlay.tasks.option_types import When
from inlay.tasks.writing import FinishReason, Written, padding_of

DECODING: Mapping[str, When] = {
    "num_beams": "always", "max_new_tokens": "always", "length_penalty": "always",
    "no_repeat_ngram_size": "always", "do_sample": "always", "temperature": "always",
    "top_p": "always", "seed": "always",
}  # fmt: skip
"""The options of a task that writes."""

_OF_DRAWING = ("temperature", "top_p", "seed")


def check_decoding(task: Any, given: Collection[str]) -> None:
    """Refuse options of a task that writes where they have no effect.

    Args:
        task: Has the settings in `DECODING`.
        given: Names of those that somebody gave.

    Raises:
        ConfigError: If there is one.
    """
    for name in _OF_DRAWING:
        if name in given and not task.do_sample:
            raise ConfigError(
                f"task option {name}={getattr(task, name)}: without do_sample=true no token is "
                "drawn, so it has no effect. Give both, or neither."
            )
    if "length_penalty" in given and task.num_beams == 1:
        raise ConfigError(
            f"task option length_penalty={task.length_penalty}: it chooses among beams, and there "
            "is one. Give num_beams=2 or more with it, or leave it out."
        )


def room_for_words(model: Any, tokens: int) -> float:
    """Return how many tokens a text may have that a model reads and goes on with, all in all.

    A base that learnt a vector for each position has none beyond the last of them, and what the
    active adapter puts in front of the words takes some. It is infinite where there is no limit.

    Args:
        model: The base.
        tokens: Those of the longest text that is read.

    Raises:
        DataError: If that text leaves no position to write at.
    """
    decoder = model.config.get_text_config(decoder=True)
    positions = getattr(decoder, "max_position_embeddings", None) or math.inf
    adapters = getattr(model, "adapters", None)
    room = positions - (adapters.positions_in_front if isinstance(adapters, Adapters) else 0)
    if tokens >= room:
        raise DataError(
            f"a text of {tokens} tokens leaves no room for an answer: the base has positions for "
            f"{int(room)}, beside what the adapter puts in front of the words. Shorten the text, "
            "or take an adapter that puts less there."
        )
    return room


def generate(
    model: Any, inputs: dict[str, Tensor], task: Any, tokenizer: Any, *, most: float = math.inf
) -> list[Written]:
    """Return the texts that a model writes, by the settings of a task; what is drawn is seeded.

    Args:
        model: The base with the adapter active.
        inputs: What it goes on with, padded on the left, or what its encoder reads.
        task: Has the settings in `DECODING`.
        tokenizer: Of the base.
        most: Tokens that there are positions for.
    """
    drawing = {"temperature": task.temperature, "top_p": task.top_p} if task.do_sample else {}
    limit = int(min(most, task.max_new_tokens))
    ends = _ends(model, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        found: Tensor = model.generate(
            **inputs, num_beams=task.num_beams, max_new_tokens=limit,
            length_penalty=task.length_penalty, do_sample=task.do_sample,
            no_repeat_ngram_size=task.no_repeat_ngram_size, pad_token_id=padding_of(tokenizer),
            eos_token_id=ends or None, **drawing,
        )  # fmt: skip
    # A decoder gives the prompt back; that of a pair begins with a sign, which may be that of ends.
    found = found[:, 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1] :]
    texts: list[str] = tokenizer.batch_decode(found, skip_special_tokens=True)
    full: FinishReason = "max_new_tokens" if limit == task.max_new_tokens else "positions"
    is_forced = getattr(model.generation_config, "forced_eos_token_id", None) is not None
    # BART puts a sign of the end on whatever stands at the limit.
    free = found[:, : limit - 1] if is_forced else found
    has_end = (
        torch.isin(free, torch.tensor(ends, dtype=found.dtype, device=found.device)).any(1).tolist()
    )
    return [
        Written(text, finish_reason="stop" if ended else full)
        for text, ended in zip(texts, has_end, strict=True)
    ]


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end a text: those that the base names, and the one that was learnt."""
    named = model.generation_config.eos_token_id
    own = [named] if isinstance(named, int) else list(named or ())
    learnt = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return sorted({*own, *learnt})


def finish_notes(predictions: Sequence[AbstractPrediction], max_new_tokens: int) -> list[str]:
    """Say how many answers were cut off, and what to do.

    Args:
        predictions: Answers of a task that writes.
        max_new_tokens: Tokens of an answer, at most.
    """
    reasons = [own.finish_reason for own in predictions if isinstance(own, Written)]
    told = {
        "max_new_tokens": f"after max_new_tokens {max_new_tokens}; for longer ones give a larger "
        "task option max_new_tokens",
        "positions": "where the base has no more positions; shorten what is asked for longer ones",
    }
    return [
        f"{reasons.count(reason)} of {counted(len(reasons), 'answer')} cut off {text}"
        for reason, text in told.items()
        if reason in reasons
    ]
