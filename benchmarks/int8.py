"""What a trunk in 8 bits costs in accuracy and time, beside one in float32.

    python -m benchmarks.int8 --sets banking77=1000,rotten_tomatoes=800 --seeds 1,2,3

The default adapter with all defaults; of train so many rows are used as stand behind a set's name.
Each run is one line of `results/int8.jsonl`, and one that is there already is not repeated.
`--table` only writes the table.
"""

import argparse
import platform
import statistics
import tempfile
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy import train_apart
from benchmarks.depth import write_taken
from benchmarks.result_lines import ResultLines, spread

RESULTS = ResultLines("int8")
TRUNKS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "float32"},
    "int8": {"precision": "float32", "trunk": "int8"},
}


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default="banking77=1000,rotten_tomatoes=800")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    for part in [] if options.table else options.sets.split(","):
        name, _, rows = part.partition("=")
        for seed in map(int, options.seeds.split(",")):
            for trunk in TRUNKS:  # in turn, as the machine's speed changes
                run(name, int(rows), trunk, seed, options)
    write_table()


def run(name: str, rows: int, trunk: str, seed: int, options: Any) -> None:
    """Train once, unless that was done."""
    key = {"data": name, "rows": rows, "trunk": trunk, "seed": seed, "epochs": options.epochs}
    if RESULTS.has(key):
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"train": rows, "validation": 500, "test": 1000}
        write_taken(options.data_root / name, Path(folder), sizes)
        settings = {
            "data": folder, "seed": seed, "epochs": options.epochs, "drop_unseen_labels": True,
            "replay": False, "out": str(Path(folder) / "run"), **TRUNKS[trunk],
        }  # fmt: skip
        metrics = train_apart(settings, key)
    result = {part: metrics[part]["accuracy"] for part in ("validation", "test")}
    RESULTS.add({"key": key, **result, "seconds": metrics["train_seconds"]})
    print(key, result, flush=True)
    write_table()


def write_table() -> None:
    """Write one row for each set and trunk, and what 8 bits cost seed by seed."""
    groups: dict[tuple[str, int], dict[str, dict[int, dict[str, Any]]]] = {}
    for result in RESULTS.read():
        key = result["key"]
        own = groups.setdefault((key["data"], key["rows"]), {}).setdefault(key["trunk"], {})
        own[key["seed"]] = result
    lines = [
        "# A trunk in 8 bits", "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.int8`; MiniLM, torch "
        f"{version('torch')} ({torch.backends.cpu.get_cpu_capability()}), torchao "
        f"{version('torchao')}, transformers {version('transformers')}, inlay "
        f"{version('inlay')}, {platform.machine()}, one thread of a shared machine. Accuracy on "
        "test in per cent, mean over seeds with the lowest and the highest; seconds of training "
        "alone, without replay, which costs a trunk once only.",
        "",
        "| data | rows | trunk | seeds | accuracy | seconds, median |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for (data, rows), trunks in groups.items():
        for trunk, runs in trunks.items():
            test = [run["test"] for run in runs.values()]
            seconds = statistics.median(run["seconds"] for run in runs.values())
            lines.append(
                f"| {data} | {rows} | {trunk} | {', '.join(map(str, runs))} "
                f"| {spread(test)} | {seconds:.0f} |"
            )
    lines += ["", "| data | int8 less float32, by seed | mean |", "|---|---|---|"]
    for (data, _), trunks in groups.items():
        plain, small = trunks.get("float32", {}), trunks.get("int8", {})
        costs = [100 * (small[s]["test"] - plain[s]["test"]) for s in plain if s in small]
        if costs:
            listed = ", ".join(f"{cost:+.2f}" for cost in costs)
            lines.append(f"| {data} | {listed} | **{statistics.mean(costs):+.2f}** |")
    RESULTS.write_table(lines)


if __name__ == "__main__":
    main()
