"""What is learnt from plain text: hidden tokens, the next token, missing spans, or all of it."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from inlay.errors import BaseError, ConfigError
from inlay.pretraining.tokenizer import NUM_SENTINELS

IGNORED = -100
"""The label where nothing is asked."""

MASKED_SHARE = 0.15
SPAN_LENGTH = 3.0


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Rows for a model.

    Attributes:
        inputs: What the model's `forward` takes, but for a decoder's inputs.
        labels: Token asked for at each position of the output, or `IGNORED`; `[rows, length]`.
    """

    inputs: dict[str, Tensor]
    labels: Tensor


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How a stream of tokens is cut: `size` tokens at a time, the next one `stride` further on."""

    size: int
    stride: int


@final
class Vocabulary:
    """The ids of a tokenizer that objectives need.

    Args:
        tokenizer: Of `transformers`.
        size: Rows of the model's embedding that stand for tokens.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.size = len(tokenizer)
        self.pad: int = tokenizer.pad_token_id or 0
        self.begin: int | None = _first(tokenizer.cls_token_id, tokenizer.bos_token_id)
        self.end: int | None = _first(tokenizer.sep_token_id, tokenizer.eos_token_id)
        self.mask: int | None = tokenizer.mask_token_id
        vocabulary = tokenizer.get_vocab()
        names = (f"<extra_id_{number}>" for number in range(NUM_SENTINELS))
        self.sentinels = [vocabulary[name] for name in names if name in vocabulary]
        is_special = torch.zeros(self.size, dtype=torch.bool)
        is_special[torch.tensor([*tokenizer.all_special_ids, *self.sentinels])] = True
        self.is_special = is_special
        """`[size]`; text is made of the others."""
        self.ordinary = (~is_special).nonzero().flatten()


class AbstractObjective(ABC):
    """Turns stretches of text into inputs and answers.

    Args:
        vocabulary: The tokenizer's ids.

    Raises:
        BaseError: If the tokenizer lacks a token that is needed.
    """

    name: ClassVar[str]
    auto_class: ClassVar[str]
    """The class of `transformers` that loads a fitting model."""
    has_two_sides: ClassVar[bool] = False
    """Whether that is an encoder with a decoder."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Refuse a vocabulary that lacks a token that is needed."""

    @abstractmethod
    def around(self) -> tuple[list[int], list[int]]:
        """Return the ids before and after each document in the stream."""

    @abstractmethod
    def window(self, max_length: int) -> Window:
        """Return how the stream is cut for models that take so many tokens."""

    @abstractmethod
    def batch(self, rows: Sequence[Tensor], generator: torch.Generator) -> Batch:
        """Make a batch; equal generators make equal batches.

        Args:
            rows: Stretches of the stream, each of two tokens at least.
            generator: Draws what is hidden.
        """


@final
class Masked(AbstractObjective):
    """Masked language modelling (Devlin et al. 2019, section 3.1).

    15 % of the tokens are asked for; of these, 80 % are replaced by the mask, 10 % by a random
    token, and 10 % stay. Special tokens are never asked for.
    """

    name = "mlm"
    auto_class = "AutoModelForMaskedLM"

    def check(self) -> None:
        """Refuse a vocabulary without a mask."""
        if self.vocabulary.mask is None:
            raise BaseError(
                "objective mlm: the base's tokenizer has no mask token. Take a base that was "
                "trained by masking, or objective clm."
            )

    def around(self) -> tuple[list[int], list[int]]:
        """End each document, so that a sequence tells documents apart."""
        return [], _some(self.vocabulary.end)

    def window(self, max_length: int) -> Window:
        """Leave room for the tokens at both ends."""
        size = max_length - len(_some(self.vocabulary.begin)) - len(_some(self.vocabulary.end))
        return Window(size=size, stride=size)

    def batch(self, rows: Sequence[Tensor], generator: torch.Generator) -> Batch:
        """Hide tokens of the rows."""
        known = self.vocabulary
        begin, end = torch.tensor(_some(known.begin)), torch.tensor(_some(known.end))
        whole = [torch.cat([begin.to(row), row, end.to(row)]) for row in rows]
        ids, attention_mask = _stack(whole, known.pad)
        may_be_asked = ~known.is_special[ids] & attention_mask.bool()
        chosen = _choose(may_be_asked, generator)
        draw = torch.rand(ids.shape, generator=generator)
        others = torch.randint(len(known.ordinary), ids.shape, generator=generator)
        hidden = torch.where(draw < 0.8, known.mask or 0, known.ordinary[others])
        hidden = torch.where(draw < 0.9, hidden, ids)
        return Batch(
            inputs={
                "input_ids": torch.where(chosen, hidden, ids), "attention_mask": attention_mask
            },
            labels=torch.where(chosen, ids, IGNORED),
        )  # fmt: skip


@final
class Causal(AbstractObjective):
    """Predicting each token from those before it; every token of the stream is asked for once."""

    name = "clm"
    auto_class = "AutoModelForCausalLM"

    def check(self) -> None:
        """Take any vocabulary."""

    def around(self) -> tuple[list[int], list[int]]:
        """Begin and end each document."""
        begin, end = self.vocabulary.begin, self.vocabulary.end
        return [] if begin == end else _some(begin), _some(end)

    def window(self, max_length: int) -> Window:
        """Overlap by one token: the last one asked for is the first one given next."""
        return Window(size=max_length + 1, stride=max_length)

    def batch(self, rows: Sequence[Tensor], generator: torch.Generator) -> Batch:
        """Shift the rows by one; nothing is drawn."""
        ids, attention_mask = _stack(rows, self.vocabulary.pad)
        return Batch(
            inputs={"input_ids": ids[:, :-1], "attention_mask": attention_mask[:, :-1]},
            labels=torch.where(attention_mask[:, 1:].bool(), ids[:, 1:], IGNORED),
        )


class AbstractSpans(AbstractObjective):
    """Text in which spans are missing (Raffel et al. 2020, section 3.1.4 and table 7).

    15 % of the tokens go missing, in spans of three on average; each span is replaced by a
    sentinel.
    """

    auto_class = "AutoModelForSeq2SeqLM"
    has_two_sides = True

    def check(self) -> None:
        """Refuse a vocabulary without sentinels or end."""
        if not self.vocabulary.sentinels or self.vocabulary.end is None:
            raise BaseError(
                f"objective {self.name}: the base's tokenizer has no sentinels <extra_id_0> ... or "
                "no end of text. Take a base that was trained by span corruption."
            )

    def around(self) -> tuple[list[int], list[int]]:
        """End each document, so that a sequence tells documents apart."""
        return [], _some(self.vocabulary.end)

    def window(self, max_length: int) -> Window:
        """Take as many tokens as give inputs and answers of `max_length`.

        Raises:
            ConfigError: If that takes more sentinels than there are.
        """
        size = max_length - 1
        while max(self.lengths(size + 1)) <= max_length:
            size += 1
        if num_spans(size) > len(self.vocabulary.sentinels):
            raise ConfigError(
                f"max_length={max_length}: the tokenizer has {len(self.vocabulary.sentinels)} "
                f"sentinels and {num_spans(size)} would be needed; take a smaller max_length."
            )
        return Window(size=size, stride=size)

    @abstractmethod
    def lengths(self, size: int) -> tuple[int, int]:
        """Return the lengths of input and answer for a stretch of `size` tokens."""

    @abstractmethod
    def answer(self, row: Tensor, missing: list[Tensor]) -> Tensor:
        """Return what is asked for, without its end.

        Args:
            row: A stretch.
            missing: Its spans, each behind its sentinel.
        """

    def batch(self, rows: Sequence[Tensor], generator: torch.Generator) -> Batch:
        """Take spans out of the rows."""
        pairs = [self.corrupt(row, generator) for row in rows]
        ids, attention_mask = _stack([pair[0] for pair in pairs], self.vocabulary.pad)
        labels, given = _stack([pair[1] for pair in pairs], self.vocabulary.pad)
        return Batch(
            inputs={"input_ids": ids, "attention_mask": attention_mask},
            labels=torch.where(given.bool(), labels, IGNORED),
        )

    def corrupt(self, row: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the input and the answer for one stretch.

        Text and spans alternate, text first and a span last; where they are cut is drawn evenly
        from all ways to cut them. Both are as in the paper's own implementation.
        """
        noise, spans = num_noise(len(row)), num_spans(len(row))
        kept = _partition(len(row) - noise, spans, generator)
        missing = _partition(noise, spans, generator)
        sizes = [size for pair in zip(kept, missing, strict=True) for size in pair]
        pieces = torch.split(row, sizes)
        end = row.new_tensor([self.vocabulary.end])
        sentinels = [row.new_tensor([number]) for number in self.vocabulary.sentinels[:spans]]
        given = [part for pair in zip(pieces[::2], sentinels, strict=True) for part in pair]
        asked = [part for pair in zip(sentinels, pieces[1::2], strict=True) for part in pair]
        return torch.cat([*given, end]), torch.cat([self.answer(row, asked), end])


@final
class Denoising(AbstractSpans):
    """Span corruption: the answer is every sentinel with the tokens that were there."""

    name = "denoise"

    def lengths(self, size: int) -> tuple[int, int]:
        """Return the lengths of input and answer for a stretch of `size` tokens."""
        noise, spans = num_noise(size), num_spans(size)
        return size - noise + spans + 1, noise + spans + 1

    def answer(self, row: Tensor, missing: list[Tensor]) -> Tensor:
        """Ask for the spans."""
        return torch.cat(missing)


@final
class Infilling(AbstractSpans):
    """Text infilling (Lewis et al. 2020, section 2.2): the answer is the whole text.

    So the base learns to copy what it reads, which summaries and questions need and the answers
    of span corruption never ask for.
    """

    name = "infill"

    def lengths(self, size: int) -> tuple[int, int]:
        """Return the lengths of input and answer for a stretch of `size` tokens."""
        return size - num_noise(size) + num_spans(size) + 1, size + 1

    def answer(self, row: Tensor, missing: list[Tensor]) -> Tensor:
        """Ask for all of it."""
        return row


OBJECTIVES: dict[str, type[AbstractObjective]] = {
    objective.name: objective for objective in (Masked, Causal, Denoising, Infilling)
}


def num_noise(size: int) -> int:
    """Return how many of `size` tokens go missing: 15 %, one at least, and not all."""
    return min(max(1, round(size * MASKED_SHARE)), size - 1)


def num_spans(size: int) -> int:
    """Return into how many spans the missing tokens of `size` fall."""
    noise = num_noise(size)
    return min(max(1, round(noise / SPAN_LENGTH)), noise, size - noise)


def _choose(may_be_chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Draw 15 % of the positions of each row that may be chosen, one at least if there is one."""
    draw = torch.rand(may_be_chosen.shape, generator=generator)
    rank = draw.masked_fill(~may_be_chosen, 2.0).argsort(dim=1).argsort(dim=1)
    number = (may_be_chosen.sum(dim=1) * MASKED_SHARE).round().clamp(min=1)
    return (rank < number[:, None]) & may_be_chosen


def _partition(total: int, parts: int, generator: torch.Generator) -> list[int]:
    """Return `parts` positive numbers with the sum `total`, all ways equally likely."""
    cuts = torch.randperm(total - 1, generator=generator)[: parts - 1].sort().values + 1
    ends = [0, *cuts.tolist(), total]
    return [after - before for before, after in itertools.pairwise(ends)]


def _stack(rows: Sequence[Tensor], pad: int) -> tuple[Tensor, Tensor]:
    """Return ids padded on the right, and 1 where there is no padding."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=pad).long()
    mask = torch.arange(ids.shape[1])[None, :] < lengths[:, None]
    return ids, mask.long()


def _first(*ids: int | None) -> int | None:
    return next((number for number in ids if number is not None), None)


def _some(number: int | None) -> list[int]:
    return [] if number is None else [number]
