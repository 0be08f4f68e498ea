"""Load a saved adapter with its base and answer raw texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from inlay.adapters.attach import attach
from inlay.data.rows import Example
from inlay.errors import AdapterError, DataError, FormatError
from inlay.evaluation.scoring import score_rows
from inlay.store.bases import load_base, resolve_base
from inlay.store.load import load
from inlay.store.manifest import MANIFEST_FILE, Manifest, read_manifest
from inlay.tasks.base import AbstractTask, Encoded, Prediction
from inlay.tasks.registry import task_from_settings

Text = str | tuple[str, str]
"""A text, or a pair of texts."""


@final
class Predictor:
    """A base with one active adapter and its task: texts in, answers out.

    Args:
        model: The base, with the adapter active.
        task: The adapter's task.
        tokenizer: The base's tokenizer.
        head: The adapter's head.
        max_length: Tokens of a text that are read.
        autocast: Whether to compute in bfloat16.
        manifest: What was saved beside the adapter.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        task: AbstractTask,
        tokenizer: Any,
        head: nn.Module,
        max_length: int,
        autocast: bool,
        manifest: Manifest,
    ) -> None:
        self.model = model
        self.task = task
        self.tokenizer = tokenizer
        self.head = head
        self.max_length = max_length
        self.autocast = autocast
        self.manifest = manifest

    def predict(self, texts: Sequence[Text]) -> list[Prediction]:
        """Answer texts or pairs, in their order.

        Args:
            texts: Strings, or tuples of two strings for a task on pairs.

        Raises:
            DataError: If some are pairs and others are not.
        """
        pairs = [not isinstance(text, str) for text in texts]
        if any(pairs) and not all(pairs):
            one, other = pairs.index(True), pairs.index(False)
            raise DataError(
                f"row {one} is a pair and row {other} is not; give texts only, or pairs only."
            )
        rows = [
            Example(text, None, "", "", number)
            if isinstance(text, str)
            else Example(text[0], text[1], "", "", number)
            for number, text in enumerate(texts)
        ]
        return self.task.decode(self.scores(rows))

    def encode(self, rows: Sequence[Example]) -> list[Encoded]:
        """Turn examples into token ids as in training."""
        return self.task.encode(rows, self.tokenizer, max_length=self.max_length)

    def scores(self, rows: Sequence[Example]) -> torch.Tensor:
        """Return the head's scores, one row for each example."""
        if not rows:
            return torch.empty(0, 0)
        return score_rows(
            self.task, self.model, self.head, self.encode(rows), self.tokenizer,
            autocast=self.autocast,
        )  # fmt: skip


def adapter_folder(folder: str | Path) -> Path:
    """Return the folder of the adapter, given that of the adapter or of its run.

    Raises:
        FormatError: If there is no saved adapter; an unfinished run is named as such.
    """
    folder = Path(folder)
    for candidate in (folder, folder / "adapter"):
        if (candidate / MANIFEST_FILE).is_file():
            return candidate
    if (folder / "config.yaml").is_file():
        raise FormatError(
            f"{folder} is a run that has not finished. Continue it with: inlay resume {folder}"
        )
    if not folder.exists():
        raise FormatError(f"{folder} does not exist. `inlay list` shows the runs there are.")
    raise FormatError(
        f"{folder} holds no saved adapter ({MANIFEST_FILE}). Give a run's folder or its adapter/."
    )


def load_predictor(folder: str | Path, *, base: str | None = None) -> Predictor:
    """Load a saved adapter, its base and its task.

    Args:
        folder: A run's folder or an adapter's.
        base: Another place of the same base: an alias, a folder or a Hub name.

    Raises:
        FormatError: If the files are damaged, or the adapter belongs to another base.
        BaseError: If the base is not to be found.
        AdapterError: If the adapter was saved without a task.
    """
    folder = adapter_folder(folder)
    manifest = read_manifest(folder)
    card = manifest.card
    if "task" not in card or not manifest.has_head:
        raise AdapterError(
            f"{folder}: this adapter was saved without a task, so it has no answers to give. "
            "Load it onto a model with `inlay.load`."
        )
    task = task_from_settings(card["task"], str(folder / MANIFEST_FILE))
    numerics = card["numerics"]
    found = resolve_base(base or card["base"])
    model, tokenizer = load_base(
        found, dtype=numerics["stored"], attn_implementation=numerics["attention"]
    )
    adapters = attach(model)
    head = task.build_head(output_width(adapters.sites))
    name = load(model, folder, head=head)
    adapters.use(name)
    return Predictor(
        model=model, task=task, tokenizer=tokenizer, head=head, manifest=manifest,
        max_length=card["max_length"], autocast=numerics["autocast"],
    )  # fmt: skip


def output_width(sites: Any) -> int:
    """Return the channels of the last hidden state that the model hands out."""
    outputs = [site for site in sites if site.kind == "output"]
    return int(outputs[-1].width)
