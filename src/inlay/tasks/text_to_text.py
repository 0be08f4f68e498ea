"""Text to text: translation, summaries, questions, dialogue, by an encoder-decoder."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from torch import Tensor, nn
from typing_extensions import override

from inlay.data.rows import Dataset, Example
from inlay.metrics.generation import bleu, chrf, copy_source, exact_match, lead, rouge, rouge_l
from inlay.metrics.headline import Headline
from inlay.tasks.base import AbstractPrediction, BaseKind, Batch, Encoded
from inlay.tasks.decoding import (
    DECODING,
    check_decoding,
    finish_notes,
    generate,
    room_for_words,
)
from inlay.tasks.option_types import Count, CountOrNone, Fraction, Number, Positive, Seed, When
from inlay.tasks.writing import (
    IGNORED,
    AbstractWritingTask,
    Written,
    pad,
    padding_of,
    too_long_to_write,
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TextToText(AbstractWritingTask):
    """A text to be written for another; the loss is over the tokens of the known one.

    Args:
        num_beams: Beams of the search; 1 takes the most probable token each time.
        max_new_tokens: Tokens of an answer, at most.
        length_penalty: Above 0 favours long answers of a beam search, below 0 short ones.
        no_repeat_ngram_size: Runs of this many tokens occur once only; 0 for no such rule.
        do_sample: Whether tokens are drawn rather than chosen.
        temperature: Divides the logits where tokens are drawn.
        top_p: Tokens are drawn from the most probable ones that have this share together.
        seed: Of what is drawn.
    """

    name: ClassVar[str] = "text-to-text"
    form: ClassVar[str] = "to-text"
    needs: ClassVar[BaseKind] = "encoder-decoder"
    better: ClassVar[str] = "token_probability"
    options: ClassVar[Mapping[str, When]] = DECODING

    num_beams: Count = 4
    max_new_tokens: Count = 64
    length_penalty: Number = 1.0
    no_repeat_ngram_size: CountOrNone = 0
    do_sample: bool = False
    temperature: Positive = 1.0
    top_p: Fraction = 1.0
    seed: Seed = 1

    @property
    @override
    def headline(self) -> Headline:
        return Headline("rouge_l")

    @property
    @override
    def writes_for_report(self) -> bool:
        return True

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        return cls()

    @override
    def settings(self) -> dict[str, Any]:
        return {"task": self.name, **dataclasses.asdict(self)}

    @override
    def check_options(self, given: Collection[str]) -> None:
        check_decoding(self, given)

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        if not examples:
            return []
        sources = tokenizer([row.text for row in examples], verbose=False)["input_ids"]
        targets = tokenizer(text_target=[row.label for row in examples], verbose=False)
        encoded = []
        for number, (source, target) in enumerate(zip(sources, targets["input_ids"], strict=True)):
            extra = {"cut": (len(source) > max_length, len(target) > max_length)}
            features = {"input_ids": _cut(source, max_length)}
            encoded.append(Encoded(features, _cut(target, max_length), number, extra))
        return encoded

    @override
    def encode_prompts(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        return self.encode(examples, tokenizer, max_length=max_length)

    @override
    def reading_notes(self, rows: Sequence[Encoded], *, max_length: int) -> list[str] | None:
        notes = []
        for what, side in (("sources", 0), ("targets", 1)):
            number = sum(row.extra["cut"][side] for row in rows)
            if number:
                notes.append(f"{number} of {len(rows)} {what} cut to {max_length} tokens")
        return [*notes, *too_long_to_write(rows, "targets", self.max_new_tokens)]

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        ids = [row.features["input_ids"] for row in rows]
        inputs = {
            "input_ids": pad(ids, padding_of(tokenizer)),
            "attention_mask": pad([[1] * len(own) for own in ids], 0),
        }
        return Batch(inputs, pad([row.target or [] for row in rows], IGNORED))

    @override
    def scores(self, model: nn.Module, head: nn.Module | None, batch: Batch) -> Tensor:
        """Return `(rows, target positions, tokens)`."""
        logits: Tensor = model(**batch.inputs, labels=batch.targets).logits
        return logits

    @override
    def write(
        self, model: Any, rows: Sequence[Encoded], tokenizer: Any, *, device: Any
    ) -> list[Written]:
        inputs = self.collate(rows, tokenizer).to(device).inputs
        # What is written begins with one sign, which has a position too.
        room = room_for_words(model, 1) - 1
        written = generate(model, inputs, self, tokenizer, most=room)
        return [dataclasses.replace(own, text=own.text.strip()) for own in written]

    @override
    def finish_notes(self, predictions: Sequence[AbstractPrediction]) -> list[str]:
        return finish_notes(predictions, self.max_new_tokens)

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        return rouge_l(example.label, prediction.answer), 1.0

    @override
    def report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        known = [row.label for row in examples]
        given = [prediction.answer for prediction in predictions]
        scores = {
            **rouge(known, given), "bleu": bleu(known, given), "chrf": chrf(known, given),
            "exact_match": exact_match(known, given), "perplexity": perplexity(predictions),
        }  # fmt: skip
        del scores["rouge_l"]  # the headline
        return scores

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        sources = [row.text for row in test]
        found = {"copied_source": copy_source(sources), "first_sentence": lead(sources, 1)}
        return {name: [Written(text) for text in texts] for name, texts in found.items()}


def perplexity(predictions: Sequence[AbstractPrediction]) -> float:
    """Return the perplexity of the known texts, by token."""
    counts = [(p.nll, p.tokens) for p in predictions if isinstance(p, Written)]
    return Headline("perplexity", "perplexity").value(counts)


def _cut(tokens: Sequence[int], max_length: int) -> list[int]:
    """Cut tokens but keep the last one, which ends the text."""
    if len(tokens) <= max_length:
        return list(tokens)
    return [*tokens[: max_length - 1], tokens[-1]]
