"""Replay: what frozen blocks compute for a row is computed once, kept on disk, and read after."""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from inlay.adapters.entry import Entry
from inlay.adapters.trunks import trunks_below
from inlay.errors import SiteError, TrainingError, counted
from inlay.sites.fork import shows_blocks
from inlay.sites.lead_in import holds
from inlay.sites.replay import Replay, Trunk
from inlay.sites.sitemap import SiteMap
from inlay.store.activations import ActivationStore
from inlay.store.int8 import plain_tensors
from inlay.training.row_keys import RowKeys, Side, row_keys

VERIFIED = 0.01
"""Share of replayed passes that are computed as well and compared."""

_FORMAT = "1"
_HASHED_WHOLE = 2**20
"""Values of one tensor that are hashed one by one; of larger ones a sample of as many."""


def replayable(entries: Sequence[Entry], sites: SiteMap) -> list[Trunk]:
    """Return the blocks that compute the same in every pass below adapters that run together."""
    # Other positions change every block.
    if any(entry.numbering is not None for entry in entries):
        return []
    return trunks_below(entries, sites)


def weights_digest(model: nn.Module) -> str:
    """Hash the base's parameters and buffers, without those of adapters."""
    digest = hashlib.blake2b(digest_size=16)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in sorted(tensors.items()):
        if name.startswith("adapters."):
            continue
        for part in plain_tensors(tensor):
            flat = part.detach().reshape(-1)
            flat = flat[:: max(1, flat.numel() // _HASHED_WHOLE)].cpu().contiguous()
            digest.update(f"{name}{tuple(part.shape)}{part.dtype}".encode())
            digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


@final
class TrunkReplay:
    """Keeps what the trunk computes for each row, and gives it back at later passes.

    Rows are known by their content, so it does not matter which task or split they are from.

    Args:
        model: The base.
        replay: Its blocks that can be passed over.
        open_store: Opens the cache of a trunk.
        sides: What each trunk's states depend on, see `row_keys`.
        seed: Of the choice of passes that are verified.
    """

    def __init__(
        self,
        model: nn.Module,
        replay: Replay,
        open_store: Callable[[Trunk], ActivationStore],
        sides: Sequence[Side],
        *,
        seed: int,
    ) -> None:
        self.model, self.replay = model, replay
        self.stores, self.sides = [open_store(trunk) for trunk in replay.trunks], list(sides)
        self._open_store = open_store
        self.refused: str | None = None
        """Why nothing is replayed after all."""
        self.news: str | None = None
        """What is to be told: that nothing is replayed after all, or no more rows are kept."""
        self._on_note: Callable[[str], None] | None = None
        self.is_paused = False
        self.num_replayed = self.num_computed = 0
        self._fed: list[TrunkReplay] = []
        self._random = random.Random(seed)
        self._pass: list[RowKeys] | None = None
        self._expected: dict[str, Tensor] | None = None

    def feed(self, other: "TrunkReplay") -> None:
        """Let another on the same model keep what is computed here, if its blocks are among these.

        So adapters at several depths need one pass over the rows, if the highest trains first.
        """
        own, blocks = self.replay.passed, self.replay.blocks
        passed = other.replay.passed
        is_there = all(p in own or any(holds(block, p) for block in blocks) for p in passed)
        if other is not self and is_there and other not in self._fed:
            self._fed.append(other)
            self.replay.kept |= other.replay.kept
            self.replay.modules |= {path: other.replay.modules[path] for path in passed}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Replay passes of the whole model for the length of a `with` block, then keep the rows."""
        handles = [
            self.model.register_forward_pre_hook(self._before, with_kwargs=True),
            self.model.register_forward_hook(self._after, always_call=True),
        ]
        try:
            with self.replay.installed():
                yield
        finally:
            for handle in handles:
                handle.remove()
            self.publish()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Compute as always for the length of a `with` block, and keep nothing of it."""
        self.is_paused = True
        try:
            yield
        finally:
            self.is_paused = False

    def publish(self) -> None:
        """Keep what was computed up to now for later processes."""
        for store in self.stores:
            store.publish()

    def forget(self) -> None:
        """Drop what was computed since the last `publish`."""
        for store in self.stores:
            store.forget()

    @property
    def num_reused(self) -> int:
        """Rows that an earlier run has computed."""
        return min(store.num_reused for store in self.stores)

    def summary(self) -> str:
        """Say in a few words what is replayed and where it is kept."""
        number = sum(len(trunk.blocks) for trunk in self.replay.trunks)
        blocks = "block is" if number == 1 else f"{number} blocks are"
        reused = f", {counted(self.num_reused, 'row')} there already" if self.num_reused else ""
        leads = any(trunk.lead_in for trunk in self.replay.trunks)
        more = ", with what can be kept of the next before the adapter," if leads else ""
        return (
            f"the lowest {blocks} computed once for each row{more} and kept in "
            f"{self.stores[0].folder.parent}{reused}"
        )

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Decide for one pass whether to compute or to replay."""
        self._pass = self._expected = None
        self.replay.stop()
        is_off = module.training or self.is_paused or self.refused is not None
        if args or is_off or shows_blocks(module, kwargs):
            return
        keys = [row_keys(kwargs, side) for side in self.sides]
        known = [own for own in keys if own is not None]
        if len(known) < len(keys):
            return
        self._pass = known
        is_there = all(
            key in store for own, store in zip(known, self.stores, strict=True) for key in own.keys
        )
        if not (is_there and self.replay.forms):
            if self._has_room or not self.replay.forms:
                self.replay.record()
            return
        states = self._states(known)
        if self._random.random() < VERIFIED:
            self._expected = states
            self.replay.record(states)  # learnt from are the same as ever: rounding differs
        else:
            self.replay.replay(states)

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Keep what was computed."""
        recorded, self.replay.recorded = self.replay.recorded, None
        rows, expected, self._pass, self._expected = self._pass, self._expected, None, None
        was_replayed = recorded is None and self.replay.replayed is not None
        self.replay.stop()
        if rows is None or output is None:
            return
        if was_replayed:
            self.num_replayed += len(rows[0].keys)
        elif recorded is not None:
            self.num_computed += len(rows[0].keys)
            self._settle(recorded, self.replay)
            self.refused = self._why_not(recorded)
            if self.refused is not None:
                self._tell(f"replay: no, {self.refused}")
                return
            if expected is not None:
                self._verify(expected, recorded, rows)
            else:
                self._keep(recorded, rows)
                for other in self._fed:
                    other._settle(recorded, self.replay)
                    other._keep(recorded, [rows[self.sides.index(side)] for side in other.sides])

    @property
    def _has_room(self) -> bool:
        """Whether any cache takes in what is computed here."""
        return any(not store.is_full for one in (self, *self._fed) for store in one.stores)

    def tell(self, on_note: Callable[[str], None] | None) -> None:
        """Name who is told, once, if replay comes to an end; nobody, if that is known already."""
        self._on_note = on_note
        if self.news and on_note is not None:
            on_note(self.news)
            self.news = ""

    def _tell(self, text: str) -> None:
        if self.news is None:
            self.news = text
            self.tell(self._on_note)

    def _settle(self, recorded: Mapping[str, Tensor], replay: Replay) -> None:
        """Keep less, before anything is kept, where a first recording says so."""
        for number in self.replay.shorten(recorded, replay.forms):
            self.stores[number] = self._open_store(self.replay.trunks[number])

    def _why_not(self, recorded: Mapping[str, Tensor]) -> str | None:
        """Tell why what was recorded cannot be replayed, if it cannot."""
        try:
            self.replay.check()
        except SiteError as error:
            return str(error)
        for store in self.stores:
            for name in store.names:
                if name in recorded and recorded[name].dtype != store.dtype:
                    return f"block {name!r} gives {recorded[name].dtype} where the base has others"
        return None

    def _states(self, rows: Sequence[RowKeys]) -> dict[str, Tensor]:
        """Put the rows' states together as the blocks gave them, zero where there is padding."""
        device = next(self.model.parameters()).device
        states: dict[str, Tensor] = {}
        for own, store in zip(rows, self.stores, strict=True):
            found = [store.get(key) for key in own.keys]
            for index, name in enumerate(store.names):
                parts = [states_of[index] for states_of in found]
                if own.lengths is None:
                    states[name] = torch.stack(parts).to(device)
                    continue
                whole = pad_sequence(parts, batch_first=True)
                missing = own.padded - whole.shape[1]
                if missing:
                    whole = pad(whole, (0, 0) * (whole.ndim - 2) + (0, missing))
                states[name] = whole.to(device)
        return states

    def _keep(self, recorded: Mapping[str, Tensor], rows: Sequence[RowKeys]) -> None:
        for own, store in zip(rows, self.stores, strict=True):
            states = [recorded[name] for name in store.names if name in recorded]
            if len(states) < len(store.names) or any(len(s) != len(own.keys) for s in states):
                continue  # a pass that did not reach them, or split its rows
            lengths = own.lengths
            if lengths is not None and any(s.shape[1] != own.padded for s in states):
                continue
            for row, key in enumerate(own.keys):
                end = None if lengths is None else lengths[row]
                store.put(key, [s[row] if end is None else s[row, :end] for s in states])
            if store.is_full:
                self._tell(
                    f"replay: no more room in {store.folder.parent}; {counted(len(store), 'row')} "
                    "are kept, and batches with any other are computed in every epoch. Free disk "
                    "space, or give more with --set replay_gb=N"
                )

    def _verify(
        self,
        expected: Mapping[str, Tensor],
        recorded: Mapping[str, Tensor],
        rows: Sequence[RowKeys],
    ) -> None:
        """Compare what was kept with what was computed now, to rounding.

        Raises:
            TrainingError: If they differ; the cache is removed.
        """
        for own, store in zip(rows, self.stores, strict=True):
            tolerance = 1e-3 if store.dtype in (torch.float32, torch.float64) else 0.05
            for name in store.names:
                kept, now = expected[name].float(), recorded[name].float()
                if own.lengths is not None:
                    ends = torch.tensor(own.lengths, device=now.device)[:, None]
                    inside = torch.arange(own.padded, device=now.device)[None] < ends
                    kept, now = kept[inside], now[inside]
                if bool((kept - now).abs().amax() > tolerance * now.abs().amax()):
                    store.discard()
                    raise TrainingError(
                        f"replay: the states of {name!r} in {store.folder} are not what the base "
                        "computes now. The cache was removed; run the same command again, or "
                        "with --no-replay."
                    )


def open_replay(
    model: nn.Module,
    found: Sequence[Trunk],
    sites: SiteMap,
    root: Path,
    *,
    limit: int,
    seed: int,
) -> TrunkReplay:
    """Open the caches of trunks.

    Args:
        model: The base.
        found: Its blocks that stay as they are, at least one trunk.
        sites: The base's sites.
        root: Folder of the caches.
        limit: Bytes they may take.
        seed: Of the run.
    """
    first, config = next(model.parameters()), getattr(model, "config", None)
    is_pair = bool(getattr(config, "is_encoder_decoder", False))
    about = [
        _FORMAT, weights_digest(model), str(first.dtype), str(first.device.type),
        str(getattr(config, "_attn_implementation", None)), torch.__version__,
        version("transformers"), type(model).__name__,
    ]  # fmt: skip

    def open_store(trunk: Trunk) -> ActivationStore:
        key = hashlib.sha256("\n".join([*about, *trunk.blocks, "", *trunk.states]).encode())
        folder = root / key.hexdigest()[:32]
        return ActivationStore(folder, trunk.states, first.dtype, limit=limit)

    sides: list[Side] = []
    for trunk in found:
        is_first = trunk.submodel == sites.submodels()[0]
        sides.append(("encoder" if is_first else "decoder") if is_pair else "all")
    return TrunkReplay(model, Replay(model, found), open_store, sides, seed=seed)
