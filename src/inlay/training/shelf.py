"""What several trainings in one process share: loaded bases, encoded rows, computed trunks."""

import json
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
from inlay.tasks.base import AbstractTask, Encoded
from inlay.training.config import TrainConfig
from inlay.training.precision import Numerics
from inlay.training.reading import data_options, read_data
from inlay.training.replay import TrunkReplay, open_replay, trunks_below


@final
class Shelf:
    """Everything is made at the first call and given again at the next."""

    def __init__(self) -> None:
        self._bases: dict[tuple[Any, ...], tuple[Adapters, Any]] = {}
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
        self, base: Base, numerics: Numerics, needs: str, device: torch.device
    ) -> tuple[Adapters, Any]:
        """Load a base for a task and attach adapters to it; returns these and its tokenizer.

        Raises:
            BaseError: If it cannot be loaded, or has no tokenizer.
        """
        key = (base.source, base.revision, numerics, needs, str(device))
        if key not in self._bases:
            model, tokenizer = load_base(
                base, dtype=numerics.stored, needs=needs, attn_implementation=numerics.attention
            )
            if tokenizer is None:
                raise BaseError(f"{base.id!r} has no tokenizer, so it cannot read text.")
            model.to(device)
            self._bases[key] = (attach(model), tokenizer)
        return self._bases[key]

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
        found = trunks_below([adapters.entry(name) for name in together], adapters.sites)
        if not found:
            raise SiteError(
                "the adapter acts from the first block on, so there is nothing to replay"
            )
        key = (id(adapters), *found)
        if key not in self._replays:
            root = cache_root() / "trunk"
            limit = room_for(root, gigabytes * 2**30)
            self._replays[key] = open_replay(
                adapters.model, found, adapters.sites, root, limit=limit, seed=seed
            )
        return self._replays[key]
