"""The comparators: ordinary fine-tuning of all weights, of the last blocks, or of the head only."""

from dataclasses import dataclass
from typing import ClassVar, final

from typing_extensions import override

from inlay.methods.base import AbstractWeightMethod, check_at_least


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Full(AbstractWeightMethod):
    """Train a copy of every weight of the base: ordinary fine-tuning."""

    name: ClassVar[str] = "full"

    @override
    def first_block(self, num_blocks: int) -> int | None:
        return None


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Top(AbstractWeightMethod):
    """Train a copy of the last blocks' weights and of the norm behind them.

    Args:
        blocks: How many of the last blocks, at least 1.

    Raises:
        ConfigError: If `blocks < 1`.
    """

    name: ClassVar[str] = "top"

    blocks: int = 1

    def __post_init__(self) -> None:
        """Check the number of blocks."""
        check_at_least("Top", "blocks", self.blocks, 1)

    @override
    def first_block(self, num_blocks: int) -> int | None:
        return max(0, num_blocks - self.blocks)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Head(AbstractWeightMethod):
    """Train the head only; no weight of the base."""

    name: ClassVar[str] = "head"

    @override
    def first_block(self, num_blocks: int) -> int | None:
        return num_blocks
