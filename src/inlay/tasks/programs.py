"""Run a program that a model wrote against its tests, in a limited process of its own.

Limits are for accidents: endless loops, memory, files, forgotten children. A program that means
harm needs a container or a virtual machine around all of it.
"""

import contextlib
import functools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from inlay.errors import ConfigError

MEMORY = 1 << 30
"""Bytes of address space."""

FILE_SIZE = 1 << 20
"""Bytes of a file."""

_FENCED = re.compile(r"```[\w+-]*\n(.*?)(?:```|\Z)", re.DOTALL)

# What passes says so itself in the end, by a word that it was told: a program that leaves early by
# `exit()` has passed nothing.
_RUNNER = """
import json, resource, sys
given = json.load(sys.stdin)
for name, limit in given["limits"].items():
    try:
        resource.setrlimit(getattr(resource, name), (limit, limit))
    except (AttributeError, ValueError, OSError):
        pass
space = {"__name__": "program"}
for part in given["parts"]:
    exec(compile(part, "<program>", "exec"), space)
with open(given["out"], "w", closefd=False) as out:
    out.write(given["word"])
"""


def program_of(text: str) -> str:
    """Return the code in a text: what stands between the first fence, or all of it."""
    found = _FENCED.search(text)
    return found[1] if found else text


def passes(program: str, tests: Sequence[str], *, seconds: float) -> bool:
    """Tell whether a Python program passes its tests.

    It runs in an empty folder that is removed afterwards, without the environment, in a process
    group that is killed when it ends, with limits on CPU time, memory, the size of files and their
    number, and without a network where the system lets a user cut it off.

    Args:
        program: Source code.
        tests: More source code, run after it in the same names; an exception means failure.
        seconds: Time it may take.

    Raises:
        ConfigError: If the system has no such limits.
    """
    if os.name != "posix":
        raise ConfigError("programs can be run under limits on Linux and macOS only.")
    word = secrets.token_hex(16)
    reading, writing = os.pipe()
    limits = {
        "RLIMIT_CPU": int(seconds) + 1, "RLIMIT_AS": MEMORY, "RLIMIT_FSIZE": FILE_SIZE,
        "RLIMIT_NOFILE": 64, "RLIMIT_CORE": 0,
    }  # fmt: skip
    given = {"parts": [program, *tests], "word": word, "out": writing, "limits": limits}
    command = [*_without_network(), sys.executable, "-I", "-X", "utf8", "-c", _RUNNER]
    try:
        with tempfile.TemporaryDirectory(prefix="inlay-program-") as folder:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, cwd=folder, env={}, start_new_session=True,
                pass_fds=(writing,),
            )  # fmt: skip
            try:
                process.communicate(json.dumps(given).encode(), timeout=seconds)
            except subprocess.TimeoutExpired:
                return False
            finally:
                _kill_group(process)
            os.close(writing)
            writing = -1
            return process.returncode == 0 and _read_what_is_there(reading) == word.encode()
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def count_passing(
    programs: Sequence[Sequence[str]], tests: Sequence[Sequence[str]], *, seconds: float
) -> list[int]:
    """Return for each row how many of its programs pass its tests.

    Args:
        programs: Of each row.
        tests: Of each row.
        seconds: Time that one program may take.
    """
    jobs = [(row, program, tests[row]) for row, own in enumerate(programs) for program in own]
    # A program may take as long as its limit, so more than one at a time; but few, as time that
    # they take from one another counts against them.
    with ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1) // 2)) as pool:
        found = list(pool.map(lambda job: passes(job[1], job[2], seconds=seconds), jobs))
    counts = [0] * len(programs)
    for (row, _, _), passed in zip(jobs, found, strict=True):
        counts[row] += passed
    return counts


def _read_what_is_there(pipe: int) -> bytes:
    """Read without waiting: a child that has left the group may hold the other end."""
    os.set_blocking(pipe, False)
    try:
        return os.read(pipe, 64)
    except BlockingIOError:
        return b""


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@functools.cache
def _without_network() -> tuple[str, ...]:
    """Return what in front of a command gives it no network; nothing where that is not allowed."""
    found = shutil.which("unshare")
    if found is None:
        return ()
    command = (found, "--net", "--map-root-user")
    try:
        tried = subprocess.run(
            [*command, sys.executable, "-I", "-S", "-c", ""], capture_output=True, timeout=20,
            check=False, env={},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if tried.returncode == 0 else ()
