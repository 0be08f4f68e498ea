"""Data sets by name: those that come with the library, and those on the Hugging Face Hub."""

import os
import re
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

from inlay.data.arrow import loaded_to_tables
from inlay.data.table import Table
from inlay.errors import DataError, did_you_mean
from inlay.optional import require

_BUILTIN = Path(__file__).parent / "builtin"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_CONNECT_SECONDS = 0.7


def list_builtin() -> list[str]:
    """Return the names of the data sets that come with the library."""
    return sorted(path.name for path in _BUILTIN.iterdir() if path.is_dir())


def find_builtin(name: str) -> Path | None:
    """Return the folder of a data set that comes with the library."""
    return _BUILTIN / name if name in list_builtin() else None


def is_hub_name(name: str) -> bool:
    """Tell whether a string has the form of a Hub name: NAME or OWNER/NAME."""
    return _HUB_NAME.fullmatch(name) is not None


def read_hub(name: str) -> dict[str, Table]:
    """Load a data set from the Hub or from its cache.

    Args:
        name: NAME or OWNER/NAME.

    Raises:
        DataError: If it is not on this machine and the network is off, or cannot be loaded.
        MissingExtraError: If `datasets` is not installed.
    """
    cached = _cached()
    on_disk = name.replace("/", "___").lower() in {entry.lower() for entry in cached}
    if not on_disk and (_is_offline() or not _can_connect()):
        raise DataError(_word_offline(name, cached))
    datasets = require("datasets", extra="data", purpose=f'Loading "{name}" from the Hub')
    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f'"{name}" cannot be loaded from the Hub: {lines[0].rstrip(".")}. '
            "Check the name, or pass a file or a folder."
        ) from error
    return loaded_to_tables(loaded, path=f"hub:{name}")


def _word_offline(name: str, cached: list[str]) -> str:
    known = [*list_builtin(), *(entry.replace("___", "/") for entry in cached)]
    return (
        f'"{name}" is not on this machine and the network is off. On disk: {", ".join(known)}.'
        f"{did_you_mean(name, known)} Put files in $HF_HOME or pass a file or a folder."
    )


def _is_offline() -> bool:
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in names)


def _cached() -> list[str]:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser()
    folder = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and path.name not in {"downloads", "generator", "csv", "json", "parquet"}
    )


def _can_connect() -> bool:
    """Tell within a second whether the Hub answers, as its client would retry for minutes."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    host, port = endpoint.hostname or "", endpoint.port or 443
    answers: list[bool] = []

    def connect() -> None:
        try:
            with socket.create_connection((host, port), timeout=_CONNECT_SECONDS):
                answers.append(True)
        except OSError:
            answers.append(False)

    # Resolving a name has no time limit of its own, so it is left behind in a thread.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_CONNECT_SECONDS)
    return bool(answers) and answers[0]
