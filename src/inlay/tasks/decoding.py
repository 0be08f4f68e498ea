"""How texts are written token after token: the options that tasks share, and the writing."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from inlay.adapters.bank import Adapters
from inlay.errors import ConfigError, DataError
from inlay.tasks.option_types import When
from inlay.tasks.writing import padding_of

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
    positions = getattr(model.config, "max_position_embeddings", None) or math.inf
    adapters = getattr(model, "adapters", None)
    room = positions - (adapters.positions_in_front if isinstance(adapters, Adapters) else 0)
    if tokens >= room:
        raise DataError(
            f"a text of {tokens} tokens leaves no room for an answer: the base has positions for "
            f"{int(room)}, beside what the adapter puts in front of the words. Shorten the text, "
            "or take an adapter that puts less there."
        )
    return room


def generate(model: Any, inputs: dict[str, Tensor], task: Any, tokenizer: Any) -> Tensor:
    """Return the tokens that a model writes, by the settings of a task; what is drawn is seeded."""
    drawing = {"temperature": task.temperature, "top_p": task.top_p} if task.do_sample else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        found: Tensor = model.generate(
            **inputs, num_beams=task.num_beams, max_new_tokens=task.max_new_tokens,
            length_penalty=task.length_penalty, do_sample=task.do_sample,
            no_repeat_ngram_size=task.no_repeat_ngram_size, pad_token_id=padding_of(tokenizer),
            **drawing,
        )  # fmt: skip
    return found
