"""Hidden states of frozen blocks on disk, row by row, memory-mapped and found by content.

A cache is a folder `ROOT/KEY/` of segments. A segment is written under a name of its own and gets
its index last, so that a killed process leaves nothing that is read; what it leaves is removed
when its lock is free. Space is reserved before it is written to, since a memory map over a full
disk would end the process.
"""

import json
import math
import mmap
import os
import shutil
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, final

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from inlay.errors import FormatError

CHUNK = 64 * 2**20
"""Bytes that are reserved at a time."""

_INDEX = "index.json"
_LOCK = "lock"
_WRITING = ".writing-"


def cache_root() -> Path:
    """Return the folder of all caches: `$INLAY_CACHE`, or `inlay` in the user's cache folder."""
    given = os.environ.get("INLAY_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inlay"


@final
@dataclass(frozen=True, slots=True)
class _Place:
    """Where one row's states lie."""

    chunk: mmap.mmap
    offset: int
    shapes: tuple[tuple[int, ...], ...]
    checksum: int


@final
class ActivationStore:
    """Rows of hidden states: a key of bytes -> one tensor for each name.

    Not for several threads; several processes may use one folder.

    Args:
        folder: Of this cache; its name says what the states depend on besides the row.
        names: What each row has, in order.
        dtype: Of all states.
        limit: Bytes that all caches beside this one may take together.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], dtype: torch.dtype, *, limit: int
    ) -> None:
        self.folder, self.names, self.dtype, self.limit = folder, tuple(names), dtype, limit
        self.is_full = False
        """Whether no more rows are taken in."""
        self.num_reused = 0
        """Rows that were there when the store was opened."""
        self._places: dict[bytes, _Place] = {}
        self._checked: set[bytes] = set()
        self._own: list[tuple[bytes, int, _Place]] = []
        self._chunks: list[mmap.mmap] = []
        self._used = 0
        self._lock: FileLock | None = None
        self._segment = folder / f"{_WRITING}{uuid.uuid4().hex}"
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        self._remove_leftovers()
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(_WRITING):
                self._read_segment(path)
        self.num_reused = len(self._places)

    def __contains__(self, key: bytes) -> bool:
        """Tell whether a row is there."""
        return key in self._places

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._places)

    def get(self, key: bytes) -> list[Tensor]:
        """Return a row's states, views of the file.

        Raises:
            FormatError: If the bytes are not those that were written.
        """
        place = self._places[key]
        counts = [math.prod(shape) for shape in place.shapes]
        if key not in self._checked:
            size = sum(counts) * self.dtype.itemsize
            view = memoryview(place.chunk)[place.offset : place.offset + size]
            if zlib.crc32(view) != place.checksum:
                raise FormatError(
                    f"{self.folder}: the cached states of a row are damaged; remove the folder."
                )
            self._checked.add(key)
        flat = torch.frombuffer(
            place.chunk, dtype=self.dtype, offset=place.offset, count=sum(counts)
        )
        parts = zip(torch.split(flat, counts), place.shapes, strict=True)
        return [part.view(shape) for part, shape in parts]

    def put(self, key: bytes, states: Sequence[Tensor]) -> None:
        """Take a row in, unless the limit or the disk says no; then `is_full` is set."""
        if key in self._places or self.is_full:
            return
        flat = [
            state.detach().to("cpu", self.dtype).contiguous().view(-1).view(torch.uint8)
            for state in states
        ]
        size = sum(len(own) for own in flat)
        if not self._chunks or self._used + size > len(self._chunks[-1]):
            self.is_full = not self._new_chunk(max(CHUNK, size))
        if self.is_full:
            return
        chunk, offset = self._chunks[-1], self._used
        target = torch.frombuffer(chunk, dtype=torch.uint8, offset=offset, count=size)
        torch.cat(flat, out=target)
        checksum = zlib.crc32(memoryview(chunk)[offset : offset + size])
        place = _Place(chunk, offset, tuple(tuple(s.shape) for s in states), checksum)
        self._places[key] = place
        self._own.append((key, len(self._chunks) - 1, place))
        self._checked.add(key)
        # Aligned, so that any dtype can be read in place.
        self._used = offset + -(-size // 64) * 64

    def publish(self) -> None:
        """Make what was taken in readable for later stores."""
        if not self._own:
            return
        for chunk in self._chunks:
            chunk.flush()
        rows = {
            key.hex(): [number, place.offset, place.shapes, place.checksum]
            for key, number, place in self._own
        }
        index = {"names": self.names, "dtype": str(self.dtype), "rows": rows}
        try:
            os.truncate(self._segment / f"{len(self._chunks) - 1}.bin", self._used)
            (self._segment / _INDEX).write_text(json.dumps(index))
            self._segment.rename(self.folder / self._segment.name.removeprefix(_WRITING))
        except OSError:  # a full disk: the next run computes again
            shutil.rmtree(self._segment, ignore_errors=True)
        self._release()

    def forget(self) -> None:
        """Drop the rows that were not published."""
        for key, _, _ in self._own:
            del self._places[key]
        shutil.rmtree(self._segment, ignore_errors=True)
        self._release()

    def discard(self) -> None:
        """Remove the whole cache from disk."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._places = {}
        self._release()
        self.is_full = True

    def _num_bytes(self, shape: Sequence[int]) -> int:
        return math.prod(shape) * self.dtype.itemsize

    def _new_chunk(self, size: int) -> bool:
        """Reserve space and map it, older caches making room; tell whether that went well."""
        if not make_room(self.folder.parent, size, self.limit, keep=self.folder):
            return False
        try:
            if self._lock is None:
                self._segment.mkdir(parents=True)
                self._lock = FileLock(self._segment / _LOCK)
                self._lock.acquire(timeout=0)
            path = self._segment / f"{len(self._chunks)}.bin"
            with path.open("w+b") as file:
                reserve(file, size)
                self._chunks.append(mmap.mmap(file.fileno(), size))
        except (OSError, Timeout):
            return False
        self._used = 0
        return True

    def _read_segment(self, path: Path) -> None:
        """Take in a finished segment; one that cannot be read is removed."""
        try:
            index = json.loads((path / _INDEX).read_text())
            if index["names"] != list(self.names) or index["dtype"] != str(self.dtype):
                raise ValueError
            chunks: dict[int, mmap.mmap] = {}
            for key, (number, offset, shapes, checksum) in index["rows"].items():
                if number not in chunks:
                    with (path / f"{number}.bin").open("rb") as file:
                        # A private copy on write: PyTorch wants memory that could be written to.
                        chunks[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                own = tuple(tuple(shape) for shape in shapes)
                if offset + sum(map(self._num_bytes, own)) > len(chunks[number]):
                    raise ValueError
                self._places[bytes.fromhex(key)] = _Place(chunks[number], offset, own, checksum)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            shutil.rmtree(path, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Remove what killed processes left: segments whose lock nobody holds."""
        for path in self.folder.glob(f"{_WRITING}*"):
            try:
                with FileLock(path / _LOCK, timeout=0):
                    shutil.rmtree(path, ignore_errors=True)
            except (OSError, Timeout):
                continue  # in use

    def _release(self) -> None:
        """Leave the segment that was written to; further rows go to a new one."""
        self._own, self._chunks, self._used = [], [], 0
        self._segment = self.folder / f"{_WRITING}{uuid.uuid4().hex}"
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def room_for(root: Path, wanted: float) -> int:
    """Return the bytes that caches may take: what is wanted, but half of what is free at most."""
    there = next(path for path in (root, *root.parents) if path.exists())
    held = size_of(root) if root.exists() else 0
    return int(min(wanted, (shutil.disk_usage(there).free + held) / 2))


def make_room(root: Path, size: int, limit: int, *, keep: Path) -> bool:
    """Remove the caches that were used least recently until `size` bytes fit.

    Args:
        root: Folder of the caches.
        size: Bytes that are wanted.
        limit: Bytes that all caches may take.
        keep: A cache that stays.

    Returns:
        Whether they fit.
    """
    folders = [path for path in root.iterdir() if path.is_dir()]
    sizes: Mapping[Path, int] = {path: size_of(path) for path in folders}
    total = sum(sizes.values())
    for path in sorted(folders, key=lambda p: p.stat().st_mtime):
        if total + size <= limit:
            break
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)
            total -= sizes[path]
    return total + size <= limit


def reserve(file: IO[bytes], size: int) -> None:
    """Give a new file its size on disk, so that writing to a map of it cannot fail.

    Raises:
        OSError: If the disk has not got it.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    block = bytes(2**20)
    for start in range(0, size, len(block)):
        file.write(block[: size - start])
    file.flush()


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
