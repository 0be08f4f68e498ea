"""Where text goes: results to stdout, everything else to stderr, in what the terminal can show."""

import io
import os
import shutil
import sys
from typing import TextIO


def put(text: str = "") -> None:
    """Print a result on stdout."""
    _write(sys.stdout, text)


def tell(text: str = "") -> None:
    """Print progress, a note or an error on stderr, at once."""
    _write(sys.stderr, text)
    finish(sys.stderr)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
    except BrokenPipeError:
        discard(stream)


def finish(stream: TextIO) -> None:
    """Write what a stream still holds."""
    try:
        stream.flush()
    except BrokenPipeError:
        discard(stream)


def discard(stream: TextIO) -> None:
    """Let what a stream still holds, and what follows, go nowhere.

    The reader, `head` for one, has seen enough; the work, its files and its exit code are wanted
    all the same.
    """
    with open(os.devnull, "w") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), stream.fileno())


def open_what_is_closed() -> None:
    """Give a program that was started without stdout or stderr one that goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115


def is_terminal() -> bool:
    """Tell whether a person watches stderr, so that a progress bar makes sense."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Return the columns that a line of progress may take, between 40 and 120."""
    return max(40, min(120, shutil.get_terminal_size((100, 24)).columns))


def replace_what_cannot_be_shown() -> None:
    """Print `?` for a character that the terminal's encoding lacks, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def sign(wanted: str, plain: str) -> str:
    """Return a sign such as a star or a tick, or its plain form where stderr cannot show it."""
    try:
        wanted.encode(sys.stderr.encoding or "ascii")
    except UnicodeEncodeError:
        return plain
    return wanted


def stdout_width() -> int | None:
    """Return the columns of the terminal that stdout is, or `None` if it is a pipe or a file."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else None


def be_calm() -> None:
    """Keep progress bars and advice of the libraries beneath off the screen."""
    for name, value in (
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        os.environ.setdefault(name, value)
