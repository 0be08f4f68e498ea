"""What several trainings in one process share: loaded bases, encoded rows, computed trunks."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch

from inlay.adapters.attach import attach
from inlay.adapters.bank import Adapters
from inlay.adapters.checking import resolved
from inlay.adapters.entry import Entry
from inlay.compose.nodes import names_in
from inlay.data.rows import Dataset
from inlay.errors import BaseError, SiteError
from inlay.store.activations import cache_root, room_for
from inlay.store.bases import Base, load_base
from inlay.store.int8 import to_int8
from inlay.tasks.base import AbstractTask, Encoded
from inlay.training.attention import Attention
from inlay.training.config import TrainConfig
from inlay.training.precision import Numerics
from inlay.training.reading import data_options, read_data
from inlay.training.replay import TrunkReplay, open_replay, replayable


@final
@dataclass(frozen=True, slots=True)
class Loaded:
    """A base that was loaded, with adapters attached."""

    adapters: Adapters
    tokenizer: Any
    attention: Attention


@final
class Shelf:
    """Everything is made at the first call and given again at the next."""

    def __init__(self) -> None:
        self._bases: dict[tuple[Any, ...], list[Loaded]] = {}
        self._datasets: dict[str, Dataset] = {}
        self._encoded: dict[tuple[int, str], dict[str, list[Encoded]]] = {}
        self._replays: dict[tuple[Any, ...], TrunkReplay] = {}

    def dataset(self, config: TrainConfig) -> Dataset:
        """Read the data of a training."""
        key = json.dumps([config.data, config.task, data_options(config)], default=str)
        if key not in self._datasets:
            self._datasets[key] = read_data(config)
        return self._datasets[key]

    def base(
        self,
        base: Base,
        numerics: Numerics,
        needs: str,
        device: torch.device,
        *,
        attention: Attention | None = None,
        choose: Callable[[Adapters, Any], Attention] | None = None,
    ) -> Loaded:
        """Load a base for a task and attach adapters to it.

        Args:
            base: What was found.
            numerics: How it is stored, with its usual attention implementation.
            needs: The form that the task needs.
            device: Where it goes.
            attention: The implementation that it must have.
            choose: Otherwise chooses one for a base that was just loaded, given its adapters and
                its tokenizer. One choice is good for all that share the base.

        Raises:
            BaseError: If it cannot be loaded, or has no tokenizer.
        """
        key = (base.source, base.revision, numerics, needs, str(device))
        held = self._bases.setdefault(key, [])
        for one in held:
            if attention is None or attention.name == one.attention.name:
                return one
        name = numerics.attention if attention is None else attention.name
        model, tokenizer = load_base(
            base, dtype=numerics.stored, needs=needs, attn_implementation=name
        )
        if tokenizer is None:
            raise BaseError(f"{base.id!r} has no tokenizer, so it cannot read text.")
        adapters = attach(model.to(device))
        if numerics.int8:
            to_int8(adapters)
        if attention is None:
            usual = Attention(name, "the usual one here")
            attention = usual if choose is None else choose(adapters, tokenizer)
        held.append(Loaded(adapters, tokenizer, attention))
        return held[-1]

    def encoded(
        self, dataset: Dataset, task: AbstractTask, tokenizer: Any, max_length: int
    ) -> dict[str, list[Encoded]]:
        """Turn the rows of each split into token ids."""
        key = (id(dataset), json.dumps([task.settings(), max_length], default=str))
        if key not in self._encoded:
            self._encoded[key] = {
                split: task.encode(rows, tokenizer, max_length=max_length)
                for split, rows in dataset.splits.items()
            }
        return self._encoded[key]

    def replay(
        self, adapters: Adapters, entry: Entry, *, gigabytes: float, seed: int
    ) -> TrunkReplay:
        """Open the caches of the blocks below an adapter and what it is stacked on.

        Raises:
            SiteError: If it leaves no block as it is.
        """
        together = names_in(resolved(entry.name, adapters.entry))
        found = replayable([adapters.entry(name) for name in together], adapters.sites)
        if not found:
            raise SiteError(
                "the adapter acts from the first block on, so there is nothing to replay"
            )
        key = (id(adapters), *found)
        if key not in self._replays:
            root = cache_root() / "trunk"
            limit = room_for(root, gigabytes * 2**30)
            new = open_replay(adapters.model, found, adapters.sites, root, limit=limit, seed=seed)
            for (on, *_), other in self._replays.items():
                if on == id(adapters):
                    new.feed(other)
                    other.feed(new)
            self._replays[key] = new
        return self._replays[key]
