"""Accuracy of methods on several data sets and seeds, through `inlay.train` and its defaults.

    python -m benchmarks.accuracy --sets banking77,clinc150 --methods bottleneck,full,head

Each run is one line of the results file, and a run that is there already is not repeated, so the
command can be stopped and started again. Where several learning rates are given for a method
(`--rates full=5e-5,1e-4,2e-4`), the one with the best validation accuracy of seed 1 is used for
the other seeds. `--table` writes the Markdown table from the results file.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.result_lines import Result, ResultLines

RESULTS = ResultLines("accuracy")
_RUN = """
import json, sys, inlay
settings = json.loads(sys.argv[1])
run = inlay.train(**settings)
print(json.dumps(run.metrics))
"""


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default="banking77,rotten_tomatoes,clinc150,subjectivity")
    parser.add_argument("--methods", default="bottleneck,full,head")
    parser.add_argument("--rates", nargs="*", default=["full=5e-5,1e-4,2e-4"])
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    rates = {method: rest.split(",") for method, rest in (r.split("=") for r in options.rates)}
    if not options.table:
        for data in options.sets.split(","):
            for method in options.methods.split(","):
                run_all(data, method, rates.get(method), options)
    write_table()


def run_all(data: str, method: str, rates: list[str] | None, options: Any) -> None:
    """Run all seeds of one method on one set, choosing the learning rate first."""
    seeds = [int(seed) for seed in options.seeds.split(",")]
    rate: float | None = None
    if rates:
        tried = {float(r): run_one(data, method, float(r), seeds[0], options) for r in rates}
        rate = max(tried, key=lambda r: tried[r]["validation"]["accuracy"])
    for seed in seeds:
        run_one(data, method, rate, seed, options)


def run_one(data: str, method: str, rate: float | None, seed: int, options: Any) -> dict[str, Any]:
    """Run once, or return what is in the results file."""
    key = {"data": data, "method": method, "rate": rate, "seed": seed, "epochs": options.epochs}
    for result in RESULTS.read():
        if result["key"] == key:
            return result["metrics"]
    source = data if data == "banking77" else str(options.data_root / data)
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "data": source, "method": method, "learning_rate": rate, "seed": seed,
            "epochs": options.epochs, "out": str(Path(folder) / "run"),
        }  # fmt: skip
        metrics = train_apart(settings, key)
    RESULTS.add({"key": key, "metrics": metrics})
    test = metrics["test"]["accuracy"]
    print(f"{key} test {test:.4f} in {metrics['train_seconds']:.0f} s", flush=True)
    return metrics


def train_apart(settings: dict[str, Any], key: Result) -> dict[str, Any]:
    """Train in a process of its own and return the metrics; `key` says which run failed."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(settings)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{key}: {done.stderr[-2000:]}")
    metrics: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return metrics


def write_table() -> None:
    """Write one row for each set and method: mean and range over the seeds."""
    groups: dict[tuple[str, str, Any], list[dict[str, Any]]] = {}
    for result in RESULTS.read():
        key = result["key"]
        groups.setdefault((key["data"], key["method"], key["rate"]), []).append(result["metrics"])
    lines = [
        "# Accuracy by method and data set",
        "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.accuracy`; MiniLM "
        f"(22.7 M weights), torch {version('torch')}, transformers {version('transformers')}, "
        f"inlay {version('inlay')}, {platform.machine()}, 2 cores with AMX. Test accuracy in "
        "per cent, mean over seeds with the lowest and the highest; `share` is that of the "
        "adapter's weights (heads apart) in the base's. Times are of a shared machine: read "
        "ratios of a comparison made for it (`make bench`), not these.",
        "",
        "| data | method | learning rate | seeds | accuracy | range | validation | words + LR | "
        "share | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (data, method, _), runs in sorted(groups.items(), key=lambda item: str(item[0])):
        test = [100 * run["test"]["accuracy"] for run in runs]
        validation = statistics.mean(100 * run["validation"]["accuracy"] for run in runs)
        base = 100 * runs[0]["baselines"]["tfidf_logreg"]["accuracy"]
        share = runs[0]["adapter_parameters"] / runs[0]["total_parameters"]
        seconds = statistics.median(run["train_seconds"] for run in runs)
        lines.append(
            f"| {data} | {method} | {runs[0]['learning_rate']:g} | {len(runs)} "
            f"| **{statistics.mean(test):.2f}** | {min(test):.2f} - {max(test):.2f} "
            f"| {validation:.2f} | {base:.2f} | {share:.2%} | {seconds:.0f} |"
        )
    RESULTS.write_table(lines)


if __name__ == "__main__":
    main()
