"""What `torch.compile` gains in training: epochs with and without it, as whole processes in turn.

    python -m benchmarks.compile

Each process trains on rows of banking77, whose batches differ in length, without replay. The base
is compiled as `torch.compile` does it if nothing is said, for a shape first and for any when a
second one comes, or for any from the start (`dynamic=True`). Needs a C++ compiler. Writes
`results/compile.md`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "results" / "compile.md"
EPOCHS = 3
ROWS = 500
_WAYS: dict[str, dict[str, Any] | None] = {
    "as it is": None,
    "compiled": {},
    "compiled, `dynamic=True`": {"dynamic": True},
}


def main() -> None:
    """Run all ways in turn and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs")
    parser.add_argument("--case", choices=_WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case:
        print(json.dumps(_measure(asked.case)))
        return
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in _WAYS}
    for number in range(asked.rounds):
        for way, runs in found.items():
            runs.append(_run(way))
            print(number, way, runs[-1], flush=True)
    TABLE.write_text(_table(found, asked.rounds), encoding="utf-8")


def _run(way: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile", "--case", way],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measure(way: str) -> dict[str, Any]:
    """Train for some epochs; return the seconds of each and the mean loss of the last."""
    import tempfile

    from inlay.training.config import resolve_config
    from inlay.training.interrupt import StopRequest
    from inlay.training.loop import Fitting, _groups
    from inlay.training.opened import opened
    from inlay.training.reporter import SilentReporter
    from inlay.training.shelf import Shelf
    from inlay.training.step import run_step, set_modes

    with tempfile.TemporaryDirectory() as folder:
        os.environ["INLAY_CACHE"] = f"{folder}/cache"
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"
        resolved = resolve_config(
            {
                "data": "banking77", "out": f"{folder}/run", "epochs": EPOCHS,
                "replay": False, "seed": 1, "attention": "sdpa",
            }
        )  # fmt: skip
        with opened(
            resolved, SilentReporter(), force=False, folder=None, stop=StopRequest(), shelf=Shelf()
        ) as run:
            training = run.prepared.training
            training.train = training.train[:ROWS]
            options = _WAYS[way]
            if options is not None:
                training.model.compile(**options)
            progress = Fitting(training, None).progress
            lengths = [row.length for row in training.train]
            seconds = []
            for epoch in range(EPOCHS):
                set_modes(training)
                started, groups = time.monotonic(), _groups(training, lengths, epoch)
                losses = [run_step(training, progress, group) for group in groups]
                seconds.append(time.monotonic() - started)
            return {
                "seconds": [round(own, 2) for own in seconds],
                "loss": round(statistics.fmean(losses), 4),
                "precision": run.prepared.numerics.precision,
            }


def _table(found: dict[str, list[dict[str, Any]]], rounds: int) -> str:
    plain = found["as it is"]
    lines = [
        "# `torch.compile` in training",
        "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.compile --rounds {rounds}`: "
        f"{EPOCHS} epochs on {ROWS} rows of banking77, the default adapter on MiniLM in "
        f"{plain[0]['precision']}, without replay; a process for each, in turn, rounds: {rounds}; "
        f"torch {version('torch')}, {os.cpu_count()} cores, {platform.machine()}. Medians, least "
        "and most in brackets.",
        "",
        "| base | first epoch, s | last epoch, s | last / as it is | loss |",
        "|---|---|---|---|---|",
    ]
    for way, runs in found.items():
        first, last = [run["seconds"][0] for run in runs], [run["seconds"][-1] for run in runs]
        pairs = zip(runs, plain, strict=True)
        share = statistics.median(a["seconds"][-1] / b["seconds"][-1] for a, b in pairs)
        loss = statistics.median(run["loss"] for run in runs)
        lines.append(f"| {way} | {_spread(first)} | {_spread(last)} | {share:.2f} | {loss:.4f} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


if __name__ == "__main__":
    main()
