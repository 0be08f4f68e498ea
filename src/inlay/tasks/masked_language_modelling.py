"""Masked language modelling: fill in hidden tokens, to fit a base to a language or a domain."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.data.given import called
from inlay.data.rows import Dataset, Example
from inlay.errors import ConfigError, DataError, counted
from inlay.metrics.headline import Headline
from inlay.tasks.base import AbstractPrediction, BaseKind, Batch, Encoded
from inlay.tasks.option_types import InnerFraction, When
from inlay.tasks.writing import IGNORED, AbstractWritingTask, Written, pad, padding_of, unigram

_SHOWN = 40
"""Characters of a text that a message shows; it may have no spaces to cut it at."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedLanguageModelling(AbstractWritingTask):
    """Hidden tokens of running text (Devlin et al. 2019, section 3.1).

    A share of the tokens is chosen; of these 80 % are masked, 10 % replaced by any token, and 10 %
    left as they are. Training draws anew each time; evaluation hides the same tokens of a text
    always, and its perplexity is over them. A text longer than a window is read in several.

    Args:
        share: Of the tokens that are chosen, in (0, 1).
    """

    name: ClassVar[str] = "masked-language-modelling"
    form: ClassVar[str] = "plain"
    needs: ClassVar[BaseKind] = "masked"
    better: ClassVar[str] = "token_probability"
    repeats_rows: ClassVar[bool] = False  # masks are drawn anew
    options: ClassVar[Mapping[str, When]] = {"share": "training"}

    share: InnerFraction = 0.15

    def __post_init__(self) -> None:
        """Check the share.

        Raises:
            ConfigError: If it is outside of (0, 1).
        """
        if not 0 < self.share < 1:
            raise ConfigError(f"share={self.share}: a fraction in (0, 1) is needed.")

    @property
    @override
    def headline(self) -> Headline:
        return Headline("perplexity", "perplexity")

    @property
    @override
    def writes_for_report(self) -> bool:
        return False

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        return cls()

    @override
    def settings(self) -> dict[str, Any]:
        return {"task": self.name, **dataclasses.asdict(self)}

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        if tokenizer.mask_token_id is None:
            raise ConfigError(f"{type(tokenizer).__name__} has no mask token to hide tokens with.")
        if not examples:
            return []
        found = tokenizer(
            [example.text for example in examples], truncation=True, max_length=max_length,
            return_overflowing_tokens=True, return_special_tokens_mask=True, verbose=False,
        )  # fmt: skip
        encoded = []
        for window, row in enumerate(found["overflow_to_sample_mapping"]):
            ids, marks = found["input_ids"][window], found["special_tokens_mask"][window]
            target = [IGNORED if mark else token for token, mark in zip(ids, marks, strict=True)]
            encoded.append(Encoded({"input_ids": ids}, target, row))
        return encoded

    @override
    def encode_prompts(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        found = tokenizer([row.text for row in examples], truncation=True, max_length=max_length)[
            "input_ids"
        ]
        for row, ids in zip(examples, found, strict=True):
            if tokenizer.mask_token_id in ids:
                continue
            begin = row.text if len(row.text) <= _SHOWN else f"{row.text[:_SHOWN]} …"
            reason = (
                f"has its {tokenizer.mask_token} after the first {max_length} tokens, which are "
                "all that is read; shorten it."
                if tokenizer.mask_token in row.text
                else f"is a text without {tokenizer.mask_token} and has nothing to fill in; write "
                "it where a token is to be found."
            )
            raise DataError(f"{called(row.file, row.line)}: {begin!r} {reason}")
        return [Encoded({"input_ids": ids}, None, number) for number, ids in enumerate(found)]

    @override
    def reading_notes(self, rows: Sequence[Encoded], *, max_length: int) -> list[str] | None:
        number = len({row.row for row in rows})
        if number == len(rows):
            return []
        return [f"{counted(number, 'passage')} read in {len(rows)} windows of {max_length} tokens"]

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        ids, targets = [], []
        for row in rows:
            # Within inference the same tokens are hidden always, so that figures can be compared.
            fixed = _seed(row) if torch.is_inference_mode_enabled() else None
            own, target = self._hide(row, tokenizer, fixed)
            ids.append(own)
            targets.append(target)
        inputs = {
            "input_ids": pad(ids, padding_of(tokenizer)),
            "attention_mask": pad([[1] * len(own) for own in ids], 0),
        }
        return Batch(inputs, pad(targets, IGNORED))

    def _hide(self, row: Encoded, tokenizer: Any, seed: int | None) -> tuple[list[int], list[int]]:
        """Return a row's tokens with some hidden, and the targets of these."""
        generator = None
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
        ids = torch.tensor(row.features["input_ids"])
        target = torch.tensor(row.target)
        draws = torch.rand(2, len(ids), generator=generator)
        open_to = target != IGNORED
        chosen = (draws[0] < self.share) & open_to
        if not chosen.any() and open_to.any():
            chosen[int((draws[0] + 2.0 * ~open_to).argmin())] = True
        others = torch.randint(len(tokenizer), ids.shape, generator=generator)
        hidden = torch.where(chosen & (draws[1] < 0.8), tokenizer.mask_token_id, ids)
        hidden = torch.where(chosen & (draws[1] >= 0.9), others, hidden)
        return hidden.tolist(), torch.where(chosen, target, IGNORED).tolist()

    @override
    def scores(self, model: nn.Module, head: nn.Module | None, batch: Batch) -> Tensor:
        """Return `(rows, positions, tokens)`."""
        logits: Tensor = model(**batch.inputs).logits
        return logits

    @override
    def write(
        self, model: Any, rows: Sequence[Encoded], tokenizer: Any, *, device: Any
    ) -> list[Written]:
        """Fill each mask with the most probable token."""
        ids = [row.features["input_ids"] for row in rows]
        tokens = pad(ids, padding_of(tokenizer)).to(device)
        mask = pad([[1] * len(own) for own in ids], 0).to(device)
        best = model(input_ids=tokens, attention_mask=mask).logits.argmax(-1)
        filled = torch.where(tokens == tokenizer.mask_token_id, best, tokens)
        texts: list[str] = tokenizer.batch_decode(
            [own[: len(row)] for own, row in zip(filled, ids, strict=True)],
            skip_special_tokens=True,
        )
        return [Written(text) for text in texts]

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        if not isinstance(prediction, Written):
            return 0.0, 0.0
        return prediction.nll, float(prediction.tokens)

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        return {}

    @override
    def token_baselines(
        self, train: Sequence[Encoded], test: Sequence[Encoded], tokenizer: Any, number: int
    ) -> dict[str, list[AbstractPrediction]]:
        hidden = [
            dataclasses.replace(row, target=self._hide(row, tokenizer, _seed(row))[1])
            for row in test
        ]
        return {"unigram": unigram(train, hidden, len(tokenizer), number)}


def _seed(row: Encoded) -> int:
    """Return a number that depends on a row's tokens only."""
    content = ",".join(map(str, row.features["input_ids"])).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=7).digest())
