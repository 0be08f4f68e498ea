"""How many tokens of a text are read, and what is said of it."""

from collections.abc import Sequence
from typing import Any

from inlay.errors import ConfigError, counted
from inlay.tasks.base import Encoded
from inlay.training.config import SHORTEST, TrainConfig

_LONGEST = 256
"""Tokens of a text that are read if nothing is said; attention costs grow with the square."""


def max_length_of(config: TrainConfig, tokenizer: Any, model: Any, in_front: int = 0) -> int:
    """Return the tokens that are read: what was asked, within what the base can take.

    Args:
        config: The settings.
        tokenizer: The base's.
        model: The base.
        in_front: How many positions the adapter takes in front of the words.

    Raises:
        ConfigError: If it leaves too few.
    """
    limits = [tokenizer.model_max_length]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None:
        limits.append(positions)
    limit = int(min(limits)) - in_front
    if limit < SHORTEST:
        raise ConfigError(
            f"method {config.method!r} takes {in_front} positions in front of the words, and the "
            f"base has {limit + in_front} in all; at least {SHORTEST} must be left for a text. "
            "Take a shorter prompt or prefix."
        )
    return min(config.max_length or _LONGEST, limit)


def length_notes(config: TrainConfig, max_length: int, in_front: int) -> list[str]:
    """Say so if fewer tokens are read than were asked for."""
    asked = config.max_length
    if asked is None or asked <= max_length:
        return []
    behind = f" behind {counted(in_front, 'position')} of the adapter" if in_front else ""
    return [f"max_length {asked}: the base takes no more than {max_length} tokens{behind}"]


def packing_notes(encoded: Sequence[Encoded], train: Sequence[Encoded]) -> list[str]:
    """Say so if several rows became one."""
    if len(train) == len(encoded):
        return []
    return [f"train: {len(encoded)} rows packed into {len(train)}"]
