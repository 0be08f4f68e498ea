"""Text generation by a decoder: running text, prompts with completions, conversations."""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from jinja2 import TemplateError
from torch import Tensor, nn
from typing_extensions import override

from inlay.data.forms.chat import Chat
from inlay.data.forms.plain import Plain
from inlay.data.forms.to_text import ToText
from inlay.data.rows import Dataset, Example
from inlay.errors import ConfigError, DataError, counted
from inlay.metrics.generation import exact_match
from inlay.metrics.headline import Headline
from inlay.metrics.pass_at import mean_pass_at
from inlay.tasks.base import AbstractPrediction, BaseKind, Batch, Encoded
from inlay.tasks.decoding import DECODING, check_decoding, finish_notes, generate, room_for_words
from inlay.tasks.option_types import Count, CountOrNone, Fraction, Number, Positive, Seed, When
from inlay.tasks.packing import check_apart, collate_packed, pack, packed_logits
from inlay.tasks.programs import count_passing, program_of
from inlay.tasks.writing import (
    IGNORED,
    AbstractWritingTask,
    Written,
    pad,
    padding_of,
    too_long_to_write,
    unigram,
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TextGeneration(AbstractWritingTask):
    """What follows a text.

    Only what is to be written is learnt: all of a running text, but of a prompt with a completion,
    or of a conversation, the completion and its end.

    A running text longer than a window is read in windows one after the other. A prompt that
    leaves no room for its completion is cut at its start, and an answer ends where the base has no
    more positions.

    Args:
        form: Of the rows: "plain", "to-text" or "chat".
        separator: Between a prompt and its completion.
        num_beams: Beams of the search; 1 takes the most probable token each time.
        max_new_tokens: Tokens of an answer, at most.
        length_penalty: Above 0 favours long answers of a beam search, below 0 short ones.
        no_repeat_ngram_size: Runs of this many tokens occur once only; 0 for no such rule.
        do_sample: Whether tokens are drawn rather than chosen.
        temperature: Divides the logits where tokens are drawn.
        top_p: Tokens are drawn from the most probable ones that have this share together.
        seed: Of what is drawn.
        pass_at: Reports run what is written as Python against the row's `tests`, and give for each
            of these numbers how likely one of so many programs passes; no code is run if empty.
        num_samples: Programs that are drawn for each row; the largest of `pass_at` if 0.
        test_seconds: Time that a program may take.
        packing: Whether a row of training holds several short examples, of which none sees another.
    """

    name: ClassVar[str] = "text-generation"
    needs: ClassVar[BaseKind] = "decoder"
    better: ClassVar[str] = "token_probability"
    options: ClassVar[Mapping[str, When]] = {
        "separator": "training", **DECODING, "pass_at": "reports", "num_samples": "reports",
        "test_seconds": "reports", "packing": "training",
    }  # fmt: skip

    form: str = Plain.name  # type: ignore[misc]  # one task for three forms of rows
    separator: str = "\n"
    num_beams: Count = 1
    max_new_tokens: Count = 64
    length_penalty: Number = 1.0
    no_repeat_ngram_size: CountOrNone = 0
    do_sample: bool = False
    temperature: Positive = 1.0
    top_p: Fraction = 1.0
    seed: Seed = 1
    pass_at: tuple[Count, ...] = ()
    num_samples: CountOrNone = 0
    test_seconds: Positive = 5.0
    packing: bool = False

    @property
    @override
    def headline(self) -> Headline:
        return Headline("perplexity", "perplexity")

    @property
    @override
    def writes_for_report(self) -> bool:
        return self.form != Plain.name

    @classmethod
    @override
    def for_dataset(cls, dataset: Dataset) -> Self:
        return cls(form=dataset.form)

    @override
    def settings(self) -> dict[str, Any]:
        return {"task": self.name, **dataclasses.asdict(self)}

    @override
    def check_options(self, given: Collection[str]) -> None:
        check_decoding(self, given)
        check_pass_at(self, given)

    @override
    def check_measurable(self, examples: Sequence[Example], source: str) -> None:
        if self.pass_at and not any(_tests(row) for row in examples):
            raise DataError(
                f"{source}: no row has tests, which task option pass_at needs. Name their column "
                "with --column tests=NAME, or leave the option out."
            )

    @override
    def writers_of_others(self) -> "list[TextGeneration]":
        number = (self.num_samples or max(self.pass_at)) if self.pass_at else 1
        return [dataclasses.replace(self, seed=self.seed + own) for own in range(1, number)]

    @override
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        if self.form == Plain.name:
            return _windows(examples, tokenizer, max_length)
        prompts = self._prompts(examples, tokenizer)
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        encoded = []
        for number, (example, prompt) in enumerate(zip(examples, prompts, strict=True)):
            own = tokenizer(example.label, add_special_tokens=False)["input_ids"] + end
            completion = own[: max_length - 1]
            room = max_length - len(completion)
            extra = {"cut": (len(prompt) > room, len(own) > len(completion))}
            kept = prompt[-room:]
            target = [IGNORED] * len(kept) + completion
            features = {"input_ids": kept + completion}
            encoded.append(Encoded(features, target, number, extra))
        return encoded

    @override
    def training_rows(
        self, rows: Sequence[Encoded], *, model: nn.Module, tokenizer: Any, max_length: int
    ) -> list[Encoded]:
        if not self.packing:
            return list(rows)
        check_apart(model, rows, tokenizer)
        return pack(rows, max_length)

    @override
    def encode_prompts(
        self, examples: Sequence[Example], tokenizer: Any, *, max_length: int
    ) -> list[Encoded]:
        # As in training, prompt and answer are within the length together.
        room = max_length - min(self.max_new_tokens, max_length // 2)
        return [
            Encoded({"input_ids": prompt[-room:]}, None, number)
            for number, prompt in enumerate(self._prompts(examples, tokenizer))
        ]

    def _prompts(self, examples: Sequence[Example], tokenizer: Any) -> list[list[int]]:
        if self.form == Chat.name:
            texts = [chat_prompt((row.parts or {})["messages"], tokenizer) for row in examples]
            # A chat template writes its own special tokens.
            has_own = tokenizer.chat_template is not None
            found = tokenizer(texts, add_special_tokens=not has_own, verbose=False)
        else:
            after = self.separator if self.form != Plain.name else ""
            found = tokenizer([row.text + after for row in examples], verbose=False)
        end = tokenizer.eos_token_id
        return [ids[:-1] if len(ids) > 1 and ids[-1] == end else ids for ids in found["input_ids"]]

    @override
    def tokenizer_notes(self, tokenizer: Any) -> list[str]:
        if self.form != Chat.name or tokenizer.chat_template is not None:
            return []
        return ["no chat template in the tokenizer: each message is a line, role: content"]

    @override
    def reading_notes(self, rows: Sequence[Encoded], *, max_length: int) -> list[str] | None:
        if self.form == Plain.name:
            number = len({row.row for row in rows})
            if number == len(rows):
                return []
            return [
                f"{counted(number, 'passage')} read in {len(rows)} windows of {max_length} tokens"
            ]
        notes = []
        for what, side in (("prompts cut at their start", 0), ("completions cut at their end", 1)):
            cut = sum(row.extra["cut"][side] for row in rows)
            if cut:
                notes.append(f"{cut} of {len(rows)} {what}, to {max_length} tokens together")
        return [*notes, *too_long_to_write(rows, "completions", self.max_new_tokens)]

    @override
    def collate(self, rows: Sequence[Encoded], tokenizer: Any) -> Batch:
        if "packed" in rows[0].extra:
            return collate_packed(rows, tokenizer)
        ids = [row.features["input_ids"] for row in rows]
        inputs = {
            "input_ids": pad(ids, padding_of(tokenizer)),
            "attention_mask": pad([[1] * len(own) for own in ids], 0),
        }
        known = all(row.target is not None for row in rows)
        return Batch(inputs, pad([row.target for row in rows], IGNORED) if known else None)

    @override
    def scores(self, model: nn.Module, head: nn.Module | None, batch: Batch) -> Tensor:
        """Return `(rows, positions, tokens)`."""
        if "segments" in batch.inputs:
            return packed_logits(model, batch.inputs)
        logits: Tensor = model(**batch.inputs, use_cache=False).logits
        return logits

    @override
    def aligned(self, scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        # A position says what comes next.
        if batch.targets is None:
            raise ValueError("a batch without targets has no loss")
        return scores[:, :-1], batch.targets[:, 1:]

    @override
    def write(
        self, model: Any, rows: Sequence[Encoded], tokenizer: Any, *, device: Any
    ) -> list[Written]:
        prompts = [_prompt_of(row) for row in rows]
        room = room_for_words(model, max(map(len, prompts)))
        groups: dict[int, list[int]] = defaultdict(list)
        for number, prompt in enumerate(prompts):
            groups[int(min(self.max_new_tokens, room - len(prompt)))].append(number)
        texts: list[Written] = [Written("")] * len(prompts)
        for most, numbers in groups.items():
            own = [prompts[number] for number in numbers]
            # Padding on the left, so that what is written follows the prompt at once.
            inputs = {
                "input_ids": pad(own, padding_of(tokenizer), on_left=True).to(device),
                "attention_mask": pad([[1] * len(p) for p in own], 0, on_left=True).to(device),
            }
            written = generate(model, inputs, self, tokenizer, most=most)
            for number, text in zip(numbers, written, strict=True):
                texts[number] = text
        return texts

    @override
    def finish_notes(self, predictions: Sequence[AbstractPrediction]) -> list[str]:
        return finish_notes(predictions, self.max_new_tokens)

    @override
    def counts(self, example: Example, prediction: AbstractPrediction) -> tuple[float, ...]:
        if not isinstance(prediction, Written):
            return 0.0, 0.0
        return prediction.nll, float(prediction.tokens)

    @override
    def report(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        if not self.writes_for_report:
            return {}
        given = [prediction.answer for prediction in predictions]
        found: dict[str, Any] = {"exact_match": exact_match([row.label for row in examples], given)}
        if self.pass_at:
            found |= self._passing(examples, predictions)
        return found

    def _passing(
        self, examples: Sequence[Example], predictions: Sequence[AbstractPrediction]
    ) -> dict[str, Any]:
        """Run what was written for the rows that have tests."""
        tested = [
            ([program_of(text) for text in (answer.text, *answer.others)], _tests(row))
            for row, answer in zip(examples, predictions, strict=True)
            if isinstance(answer, Written) and _tests(row)
        ]
        programs, tests = [own for own, _ in tested], [own for _, own in tested]
        passed = count_passing(programs, tests, seconds=self.test_seconds)
        counts = [(number, len(own)) for number, own in zip(passed, programs, strict=True)]
        rates = {f"pass_at_{k}": mean_pass_at(k, counts) for k in self.pass_at}
        return {**rates, "n_with_tests": len(tested)}

    @override
    def baselines(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, list[AbstractPrediction]]:
        return {}

    @override
    def token_baselines(
        self, train: Sequence[Encoded], test: Sequence[Encoded], tokenizer: Any, number: int
    ) -> dict[str, list[AbstractPrediction]]:
        return {"unigram": unigram(train, test, len(tokenizer), number)}


def check_pass_at(task: TextGeneration, given: Collection[str]) -> None:
    """Refuse options about tests that do not fit one another.

    Raises:
        ConfigError: If there is one.
    """
    for name in ("num_samples", "test_seconds"):
        if name in given and not task.pass_at:
            raise ConfigError(
                f"task option {name}={getattr(task, name)}: without pass_at no code is run, so it "
                "has no effect. Give pass_at=1 with it, or leave it out."
            )
    if not task.pass_at:
        return
    if task.form != ToText.name:
        raise ConfigError(
            f"task option pass_at: rows of prompts with completions and tests are needed, and "
            f"these are {task.form} rows."
        )
    number, most = task.num_samples or max(task.pass_at), max(task.pass_at)
    if number < most:
        raise ConfigError(
            f"task option num_samples={number}: pass@{most} needs {most} programs or more."
        )
    if number > 1 and not task.do_sample:
        raise ConfigError(
            f"task option pass_at: {number} programs of a row are the same unless they are drawn; "
            "give do_sample=true, and a temperature such as 0.8."
        )


def _tests(row: Example) -> list[str]:
    parts = row.parts or {}
    own = [test for test in parts.get("tests", ()) if isinstance(test, str) and test.strip()]
    return [parts["setup"], *own] if own and "setup" in parts else own


def chat_prompt(messages: Sequence[dict[str, str]], tokenizer: Any) -> str:
    """Return a conversation as the text after which the assistant speaks.

    By the tokenizer's chat template; where there is none, each message is a line that begins with
    its role.

    Args:
        messages: With `role` and `content`.
        tokenizer: Of the base.

    Raises:
        DataError: If the template refuses the conversation, as some do a system message.
    """
    if tokenizer.chat_template is not None:
        try:
            text: str = tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise DataError(
                f"the base's chat template refuses a conversation of {roles}: {error}. Change the "
                "messages to what it takes."
            ) from error
        return text
    lines = [f"{message['role']}: {message['content']}\n" for message in messages]
    return "".join(lines) + "assistant: "


def _windows(examples: Sequence[Example], tokenizer: Any, max_length: int) -> list[Encoded]:
    """Cut running texts into windows one after the other; each begins with the start sign."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    size = max_length - len(begin)
    encoded = []
    for number, example in enumerate(examples):
        found = tokenizer(example.text, add_special_tokens=False, verbose=False)["input_ids"]
        for start in range(0, len(found), size):
            own = begin + found[start : start + size]
            encoded.append(
                Encoded({"input_ids": own}, [IGNORED] * len(begin) + own[len(begin) :], number)
            )
    return encoded


def _prompt_of(row: Encoded) -> list[int]:
    """Return the tokens before the first that is learnt."""
    ids = row.features["input_ids"]
    if row.target is None:
        return ids
    known = next((at for at, token in enumerate(row.target) if token != IGNORED), len(ids))
    return ids[:known]
