"""Write files and folders so that a reader never sees half of one."""

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}(\.old)?")


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name beside it, flush it to disk, and rename it.

    Args:
        path: The file; its folder is made if it is not there.
        content: Bytes, or text that is written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """Give an empty folder to write into; it takes the place of `path` when all went well.

    A folder that is at `path` already is moved aside first and removed afterwards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    temporary.chmod(0o755)
    old = temporary.with_name(f"{temporary.name}.old")
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        if path.exists():
            path.replace(old)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def is_leftover(name: str, names: Collection[str]) -> bool:
    """Tell whether a process that was killed left something of this name behind.

    Args:
        name: A file's or folder's name.
        names: What was to be written.
    """
    match = _TEMPORARY.fullmatch(name)
    return match is not None and match[1] in names
