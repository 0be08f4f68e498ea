"""Time `inlay train banking77` against AdapterHub on the same machine, in alternated processes.

    make bench-peers        or: python -m benchmarks.compare_peers --peers-python PATH --pairs 3

Both train for the same epochs with the same batch size, everything else at their own defaults.
Writes every run and the medians to `benchmarks/results/adapterhub_banking77.md`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DATA = HERE.parent / "src" / "inlay" / "data" / "builtin" / "banking77"
TABLE = HERE / "results" / "adapterhub_banking77.md"


def main() -> None:
    """Alternate the two, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers-python", required=True)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of the peer")
    options = parser.parse_args()
    runs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for pair in range(options.pairs):
        theirs = run_theirs(options, seed=pair + 1)
        ours = run_ours(options, seed=pair + 1)
        print(json.dumps([theirs, ours]), flush=True)
        runs.append((theirs, ours))
        write_table(runs, options)


def run_theirs(options: Any, *, seed: int) -> dict[str, Any]:
    """Run the peer's script as a whole process."""
    command = [
        options.peers_python, str(HERE / "peers" / "adapterhub_banking77.py"), "--data", str(DATA),
        "--epochs", str(options.epochs), "--seed", str(seed),
        "--learning-rate", str(options.learning_rate),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_ours(options: Any, *, seed: int) -> dict[str, Any]:
    """Run the command line as a whole process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "inlay", "train", "banking77", "--epochs",
            str(options.epochs), "--seed", str(seed), "--out", str(Path(folder) / "run"), "--json",
        ]  # fmt: skip
        started = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment()
        )
        whole = time.monotonic() - started
    metrics = json.loads(done.stdout)
    return {
        "system": "inlay train", "train_seconds": metrics["train_seconds"],
        "whole_seconds": whole, "accuracy": metrics["test"]["accuracy"],
        "trainable_parameters": metrics["trainable_parameters"], "seed": seed,
        "epochs": metrics["epochs_run"], "learning_rate": metrics["learning_rate"],
    }  # fmt: skip


def environment() -> dict[str, str]:
    """Return this environment with the network off."""
    return os.environ | {"HF_HUB_OFFLINE": "1"}


def write_table(runs: list[tuple[dict[str, Any], dict[str, Any]]], options: Any) -> None:
    """Write every run, and the medians of times and ratios."""
    versions = runs[0][0]["versions"]
    lines = [
        "# `inlay train banking77` against AdapterHub `seq_bn`",
        "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.compare_peers --pairs "
        f"{options.pairs} --epochs {options.epochs}`, whole processes in turn on the same "
        f"machine: {os.cpu_count()} cores, CPU with AMX.",
        f"Peer: adapters {versions['adapters']}, transformers {versions['transformers']}, torch "
        f"{versions['torch']}, float32, its `AdapterTrainer` and defaults, learning rate "
        f"{options.learning_rate:g} as in its documentation. Ours: inlay {version('inlay')}, "
        f"transformers {version('transformers')}, torch {version('torch')}, all defaults (frozen "
        "base stored in bfloat16). Same base, rows, epochs and batch size (32). Whole process "
        "includes, for ours, validation after each epoch, test with intervals, both baselines and "
        "the reload check; for the peer, test predictions only.",
        "",
        "| pair | system | training s | whole process s | test accuracy | trained weights |",
        "|---|---|---|---|---|---|",
    ]
    for number, pair in enumerate(runs, start=1):
        lines += [
            f"| {number} | {run['system']} | {run['train_seconds']:.1f} "
            f"| {run['whole_seconds']:.1f} | {run['accuracy']:.4f} "
            f"| {run['trainable_parameters']:,} |"
            for run in pair
        ]
    for name, key in (("training", "train_seconds"), ("whole process", "whole_seconds")):
        ratios = [theirs[key] / ours[key] for theirs, ours in runs]
        lines += [
            "",
            f"Ratio of {name}, theirs / ours: median **{statistics.median(ratios):.2f}** "
            f"(from {min(ratios):.2f} to {max(ratios):.2f}).",
        ]
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
