"""A claim on a run's folder, so that two processes never write the same run."""

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import final


@final
class Claim:
    """Holds a folder until it is released; the system releases it if the process dies.

    The lock is on the folder itself and leaves no file behind. Where the system has no such locks
    (Windows, some network drives), every claim is granted.

    Args:
        path: The folder.
        handle: The open folder that bears the lock, or `None` where there are no locks.
        made: The folders that were made for the claim, the innermost first.
    """

    def __init__(self, path: Path, handle: int | None, made: Sequence[Path]) -> None:
        self.path = path
        self._handle = handle
        self._made = made

    @classmethod
    def take(cls, path: Path) -> "Claim | None":
        """Claim a folder, which is made if it is not there; `None` if another holds it."""
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        if sys.platform == "win32":
            return cls(path, None, made)
        import fcntl

        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:
            os.close(handle)
            return cls(path, None, made)
        if _is_at(handle, path):
            return cls(path, handle, made)
        os.close(handle)  # removed by the process that held it, since it was opened here
        return cls.take(path)

    def release(self) -> None:
        """Give the folder back, and remove what was made for it if nothing was written there."""
        with contextlib.suppress(OSError):  # not empty, as it should be
            for folder in self._made:
                folder.rmdir()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
