"""Load a saved adapter with its base and answer raw texts."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import nn

from inlay.adapters.attach import adapters_of, attach
from inlay.data.forms.base import Given, Place
from inlay.data.forms.registry import FORMS, LABELLED
from inlay.data.given import called, given_examples
from inlay.data.rows import Example
from inlay.errors import AdapterError, ConfigError, DataError
from inlay.evaluation.answering import answer_prompts, answer_rows
from inlay.evaluation.scoring import score_rows
from inlay.evaluation.truncation import truncation_notes, unread
from inlay.store.bases import load_base, resolve_base
from inlay.store.int8 import to_int8
from inlay.store.load import load
from inlay.store.manifest import MANIFEST_FILE, Manifest, adapter_folder, read_manifest
from inlay.tasks.base import AbstractPrediction, AbstractTask, Encoded
from inlay.tasks.joint import Joint
from inlay.tasks.options import with_options
from inlay.tasks.registry import task_from_settings
from inlay.tasks.similarity import Similarity
from inlay.tasks.writing import AbstractWritingTask

_WITH_OR_WITHOUT_PAIR = {
    LABELLED,
    *(
        name
        for name, form in FORMS.items()
        if any(not role.is_needed and role.name in ("pair", "context") for role in form.roles)
    ),
}
"""Forms whose rows are texts in one data set and pairs of texts in another."""


@final
class Predictor:
    """A base with an adapter and its task: texts in, answers out.

    Several may share one model; each makes its own adapter active while it answers.

    Args:
        model: The base.
        name: The adapter's name on it.
        task: The adapter's task.
        tokenizer: The base's tokenizer.
        head: The adapter's head, if its task has one.
        max_length: Tokens of a text that are read.
        autocast: Whether to compute in bfloat16.
        manifest: What was saved beside the adapter.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        name: str,
        task: AbstractTask,
        tokenizer: Any,
        head: nn.Module | None,
        max_length: int,
        autocast: bool,
        manifest: Manifest,
    ) -> None:
        self.model = model
        self.name = name
        self.task = task
        self.tokenizer = tokenizer
        self.head = head
        self.max_length = max_length
        self.autocast = autocast
        self.manifest = manifest
        self.reads_pairs: bool | None = None
        """Whether every row has a second text, where the task knows rows with and without one."""
        if task.form in _WITH_OR_WITHOUT_PAIR:
            self.reads_pairs = manifest.card.get("data", {}).get("has_pairs")

    def predict(self, inputs: Sequence[Given]) -> list[Any]:
        """Answer raw inputs, in their order.

        Args:
            inputs: What the task reads, each as a text, as several in the order of the roles
                (text and second text, question and context), or as a mapping from role to value.

        Raises:
            DataError: If an input is not what the task reads, or is a single text where the
                adapter has learnt from pairs, or the other way round.
            AdapterError: If the adapter has several tasks and none was named.
        """
        return self.ask(self.examples(inputs))

    @property
    def form(self) -> str:
        """The form of rows that the task reads.

        Raises:
            AdapterError: If the adapter has several tasks and none was named.
        """
        if isinstance(self.task, Joint):
            raise AdapterError(
                f"this adapter has several tasks: {', '.join(self.task.names)}. Name one: "
                "predictor.member(NAME), or --member NAME."
            )
        return self.task.form

    def examples(
        self, inputs: Sequence[Given], places: Sequence[Place] | None = None
    ) -> list[Example]:
        """Turn a caller's inputs into examples without a target.

        Args:
            inputs: As `predict` takes them.
            places: Where each stood, for messages; its number from 0 if not given.

        Raises:
            DataError: If one cannot be used.
            AdapterError: If the adapter has several tasks and none was named.
        """
        return given_examples(inputs, self.form, places)

    def ask(self, rows: Sequence[Example]) -> list[AbstractPrediction]:
        """Answer examples of which nothing is known, in their order.

        Raises:
            DataError: If one is a single text where the adapter has learnt from pairs, or the
                other way round.
        """
        self._check_pairs(rows)
        with adapters_of(self.model).using(self.name):
            return answer_prompts(
                self.task, self.model, self.head, rows, self.tokenizer,
                max_length=self.max_length, autocast=self.autocast,
            )  # fmt: skip

    def answer(
        self,
        rows: Sequence[Example],
        *,
        encoded: Sequence[Encoded] | None = None,
        kept: Sequence[torch.Tensor] | None = None,
    ) -> list[AbstractPrediction]:
        """Answer examples as a report needs it, in their order.

        Args:
            rows: Examples with what is known of them.
            encoded: What `encode` gave for them; asked if not given.
            kept: What `scores` gave for them; asked if not given.
        """
        encoded = self.encode(rows) if encoded is None else encoded
        with adapters_of(self.model).using(self.name):
            return answer_rows(
                self.task, self.model, self.head, encoded, rows, self.tokenizer,
                kept=kept, autocast=self.autocast,
            )  # fmt: skip

    def member(self, name: str) -> "Predictor":
        """Return a predictor for one of several tasks that were learnt together.

        Args:
            name: Of the task.

        Raises:
            AdapterError: If there is none of this name.
        """
        if not isinstance(self.task, Joint) or not isinstance(self.head, nn.ModuleList):
            raise AdapterError(f"this adapter has one task, {self.task.name!r}, and no {name!r}.")
        number = self.task.number_of(name)
        other = copy.copy(self)
        other.task, other.head = self.task.tasks[number], self.head[number]
        if other.task.form in _WITH_OR_WITHOUT_PAIR:
            have_pairs = self.manifest.card.get("data", {}).get("members_have_pairs", {})
            other.reads_pairs = have_pairs.get(name)
        return other

    def with_labels(self, labels: Sequence[str], descriptions: Sequence[str] = ()) -> "Predictor":
        """Return a predictor that asks other labels, on the same model.

        Args:
            labels: Any names.
            descriptions: What stands for each; its name in words if none is given.

        Raises:
            ConfigError: If the task's labels are fixed.
        """
        if not isinstance(self.task, Similarity):
            raise ConfigError(
                f"the labels of task {self.task.name!r} are fixed; train with --task similarity "
                "for labels that can be named later."
            )
        other = copy.copy(self)
        other.task = self.task.with_labels(labels, descriptions)
        return other

    def with_options(self, options: Mapping[str, Any]) -> "Predictor":
        """Return a predictor with other options of its task, on the same model.

        Args:
            options: Option -> value, such as `{"num_beams": 2}`.

        Raises:
            ConfigError: If the task has no such option, or training has fixed it.
        """
        other = copy.copy(self)
        other.task = with_options(self.task, options, is_trained=True)
        return other

    def encode(self, rows: Sequence[Example]) -> list[Encoded]:
        """Turn examples into token ids as in training."""
        self._check_pairs(rows)
        return self.task.encode(rows, self.tokenizer, max_length=self.max_length)

    def scores(self, encoded: Sequence[Encoded]) -> list[torch.Tensor]:
        """Return what the task keeps of the scores of each row that `encode` gave."""
        with adapters_of(self.model).using(self.name):
            return score_rows(
                self.task, self.model, self.head, encoded, self.tokenizer,
                autocast=self.autocast,
            )  # fmt: skip

    def unread(self, rows: Sequence[Example]) -> list[str]:
        """Say what of examples is not read, as they are longer than `max_length`."""
        return unread(rows, self.task, self.tokenizer, max_length=self.max_length)

    def finish_notes(self, predictions: Sequence[AbstractPrediction]) -> list[str]:
        """Say how many answers were cut off before their end, and what to do."""
        if not isinstance(self.task, AbstractWritingTask):
            return []
        return self.task.finish_notes(predictions)

    def reading_notes(self, rows: Sequence[Example], encoded: Sequence[Encoded]) -> list[str]:
        """Say what of examples whose answers are known is not read, or read in windows.

        Args:
            rows: The examples.
            encoded: What `encode` gave for them.
        """
        return truncation_notes(
            {"input": rows}, {"input": encoded}, self.task, self.tokenizer,
            max_length=self.max_length,
        )  # fmt: skip

    def _check_pairs(self, rows: Sequence[Example]) -> None:
        if self.reads_pairs is None:
            return
        wrong = [row for row in rows if (row.pair is not None) != self.reads_pairs]
        if not wrong:
            return
        place = called(wrong[0].file, wrong[0].line)
        if self.reads_pairs:
            raise DataError(
                f"{place} is a single text, and this adapter has learnt from pairs of texts. Give "
                "the second one as well: --pair TEXT, a column of the file (--pair-column), JSON "
                "Lines with --input -, or (text, second text) in Python."
            )
        raise DataError(
            f"{place} has a second text, and this adapter has learnt from single texts. Leave the "
            "second one out."
        )


def load_predictor(
    folder: str | Path, *, base: str | None = None, device: str | torch.device | None = None
) -> Predictor:
    """Load a saved adapter, its base and its task.

    Args:
        folder: A run's folder or an adapter's.
        base: Another place of the same base: an alias, a folder or a Hub name.
        device: Where it runs, such as `"cpu"` or `"cuda:1"`; where training would if not given, so
            on a GPU if there is one.

    Raises:
        ConfigError: If there is no such device.
        FormatError: If the files are damaged, or the adapter belongs to another base.
        BaseError: If the base is not to be found.
        AdapterError: If the adapter was saved without a task.
    """
    return load_predictors([folder], base=base, device=device)[0]


def load_predictors(
    folders: Sequence[str | Path],
    *,
    base: str | None = None,
    device: str | torch.device | None = None,
) -> list[Predictor]:
    """Load saved adapters of several tasks onto one copy of their base.

    Args:
        folders: Run folders or adapters' folders, all made for the same base.
        base: Another place of that base.
        device: Where they run, as for `load_predictor`.

    Raises:
        ConfigError: If there is no such device.
        FormatError: If files are damaged, or an adapter belongs to another base.
        BaseError: If the base is not to be found.
        AdapterError: If an adapter was saved without a task, or they need the base in different
            forms.
    """
    where = None if device is None else _device(device)
    places = [adapter_folder(folder) for folder in folders]
    manifests = [read_manifest(place) for place in places]
    tasks = [_task_of(manifest, place) for manifest, place in zip(manifests, places, strict=True)]
    cards = [manifest.card for manifest in manifests]
    forms = [(task.needs, _stored(card)) for task, card in zip(tasks, cards, strict=True)]
    for place, form in zip(places, forms, strict=True):
        if form != forms[0]:
            raise AdapterError(
                f"{place} needs its base as {form[0]}, {form[1]}, and {places[0]} as "
                f"{forms[0][0]}, {forms[0][1]}; load them separately."
            )
    numerics = cards[0]["numerics"]
    model, tokenizer = load_base(
        resolve_base(base or cards[0]["base"]), dtype=numerics["stored"],
        attn_implementation=numerics["attention"], needs=tasks[0].needs,
    )  # fmt: skip
    adapters = attach(model)
    if numerics.get("int8"):
        to_int8(adapters)
    width = output_width(adapters.sites)
    predictors = []
    for number, (place, task, manifest) in enumerate(zip(places, tasks, manifests, strict=True)):
        head = task.build_head(width)
        name = manifest.name if number == 0 else f"{manifest.name} ({place})"
        name = load(model, place, name=name, head=head)
        predictors.append(
            Predictor(
                model=model, name=name, task=task, tokenizer=tokenizer, head=head,
                manifest=manifest, max_length=manifest.card["max_length"],
                autocast=manifest.card["numerics"]["autocast"],
            )
        )  # fmt: skip
    if where is None:
        where = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU")).device
    model.to(where)
    adapters.use(predictors[0].name)
    return predictors


def _device(asked: str | torch.device) -> torch.device:
    """Return a device that is there."""
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"device={str(asked)!r}: {reason}. Leave it out, or take one that torch finds here, "
            'such as "cpu".'
        ) from error
    return device


def _stored(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a base is stored; its attention may be any, as that is a matter of rounding."""
    return {key: value for key, value in card["numerics"].items() if key != "attention"}


def _task_of(manifest: Manifest, folder: Path) -> AbstractTask:
    if "task" not in manifest.card:
        raise AdapterError(
            f"{folder}: this adapter was saved without a task, so it has no answers to give. "
            "Load it onto a model with `inlay.load`."
        )
    return task_from_settings(manifest.card["task"], str(folder / MANIFEST_FILE))


def output_width(sites: Any) -> int:
    """Return the channels of the last hidden state that the model hands out."""
    outputs = [site for site in sites if site.kind == "output"]
    return int(outputs[-1].width)
