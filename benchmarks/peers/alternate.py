"""Run the sides of a row in turn, as processes of their own, and check that both did the same."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers.rows import Row

ROOT = Path(__file__).parents[2]

Reading = dict[str, Any]

Round = dict[tuple[str, ...], list[Reading]]
"""Script and cases -> what a process of them gave, within a round: rows that share a side have it
measured once."""


class NotComparedError(Exception):
    """A side failed, or the sides did not do the same."""


@dataclass(frozen=True, kw_only=True)
class How:
    """How to measure."""

    base: str
    peers_python: Path
    repeats: int
    warmup: int
    threads: int | None
    settings: str = ""
    """Added to whole trainings, to try them out on few rows."""


def measure_pair(row: Row, number: int, how: How, done: Round) -> tuple[Reading, Reading]:
    """Measure A, then B, but for what this round has measured already.

    Raises:
        NotComparedError: If a side fails, or facts that must agree do not.
    """
    if row.together:
        (script, a), (_, b) = (_parts(side) for side in (row.a, row.b))
        first, second = _measured(script, [a, b], how, done)
    else:
        extra = f" seed={number} {how.settings}" if row.measure == "training" else ""
        ((first,), (second,)) = (
            _measured(script, [case + extra], how, done)
            for script, case in (_parts(row.a), _parts(row.b))
        )
    check(row, first["facts"], second["facts"])
    return first, second


def _measured(script: str, cases: list[str], how: How, done: Round) -> list[Reading]:
    key = (script, *cases)
    if key not in done:
        done[key] = run_side(script, cases, how)
    return deepcopy(done[key])  # a check takes facts out


def _parts(side: str) -> tuple[str, str]:
    script, _, case = side.partition(" ")
    return script, case


def run_side(script: str, cases: Sequence[str], how: How) -> list[Reading]:
    """Run one process and return a reading for each of its cases.

    Raises:
        NotComparedError: If it fails.
    """
    python = Path(sys.executable) if script.startswith("ours") else how.peers_python
    command = [str(python), "-m", f"benchmarks.peers.{script}", "--repeats", str(how.repeats),
               "--warmup", str(how.warmup)]  # fmt: skip
    for case in cases:
        command += ["--case", case.strip()]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1", "BENCH_BASE": how.base, "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    if how.threads is not None:
        environment["OMP_NUM_THREADS"] = str(how.threads)
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"BENCH_STARTED": str(started)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    process = time.monotonic() - started
    if done.returncode != 0:
        raise NotComparedError(f"{script} {cases} failed:\n{done.stderr[-1500:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    shared = {"versions": result["versions"], "threads": result["threads"], "process": process}
    return [reading | shared for reading in result["readings"]]


def value(row: Row, reading: Reading) -> float:
    """Return what the row compares: seconds, or MB."""
    if row.measure == "memory":
        return float(reading["peak_mb"] - reading["idle_mb"])
    if row.measure == "training":
        return float(reading["facts"]["end_of_training"])
    return median(reading["seconds"])


def check(row: Row, a: dict[str, Any], b: dict[str, Any]) -> None:
    """Check that both sides did the same work; long facts are replaced by their difference.

    Raises:
        NotComparedError: If they did not.
    """
    for key in row.same:
        if a[key] != b[key]:
            raise NotComparedError(f"{key} is {a[key]} on one side and {b[key]} on the other")
    for key, most in row.close.items():
        differences = [abs(x - y) for x, y in zip(_list(a[key]), _list(b[key]), strict=True)]
        # A plain maximum would lose what is not a number.
        difference = max(differences, key=lambda own: (math.isnan(own), own))
        if math.isnan(difference) or difference > most:
            raise NotComparedError(
                f"{key} differs by {difference:.1e}, where at most {most:.0e} is allowed"
            )
        a[f"{key}_difference"] = difference
    for facts in (a, b):
        facts.pop("output", None)


def _list(found: Any) -> list[float]:
    return found if isinstance(found, list) else [found]
