"""Adapter, full fine-tuning and the head alone, on the same rows, for tasks with a pretrained base.

    python -m benchmarks.tasks --sets ner_wnut17,snips_slots --methods bottleneck,full,head

Each run is one line of `results/tasks.jsonl`, and a run that is there already is not repeated. Of a
set with more rows than `--rows` the first ones of train are used; validation and test have at most
half as many. `--table` only writes the table.
"""

import argparse
import gzip
import itertools
import json
import platform
import subprocess
import sys
import tempfile
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "tasks.jsonl"
TABLE = Path(__file__).parent / "results" / "tasks.md"
_RUN = """
import json, sys, inlay
print(json.dumps(inlay.train(**json.loads(sys.argv[1])).metrics))
"""


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default="ner_wnut17,snips_slots,ud_english_ewt")
    parser.add_argument("--methods", default="bottleneck,full,head")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    if not options.table:
        runs = itertools.product(
            options.sets.split(","), options.seeds.split(","), options.methods.split(",")
        )
        for data, seed, method in runs:
            run_one(data, method, int(seed), options)
    write_table()


def run_one(data: str, method: str, seed: int, options: Any) -> None:
    """Run once, unless it is in the results file."""
    key = {
        "data": data, "method": method, "seed": seed, "epochs": options.epochs,
        "rows": options.rows, "base": Path(options.base).name,
    }  # fmt: skip
    if any(result["key"] == key for result in read_results()):
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / data
        cut(options.data_root / data, source, options.rows)
        settings = {
            "data": str(source), "method": method, "seed": seed, "epochs": options.epochs,
            "base": options.base, "out": str(Path(folder) / "run"),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _RUN, json.dumps(settings)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{key}: {done.stderr[-2000:]}")
    metrics = json.loads(done.stdout.splitlines()[-1])
    with RESULTS.open("a") as file:
        file.write(json.dumps({"key": key, "metrics": metrics}) + "\n")
    name = metrics["test"]["metric"]
    print(key, name, round(metrics["test"][name], 4), "in", metrics["train_seconds"], "s")
    write_table()


def cut(source: Path, target: Path, rows: int) -> None:
    """Copy the first rows of each split; of running text a passage counts as 900 characters."""
    target.mkdir()
    for path in sorted(source.glob("*.gz")):
        number = rows if path.name.startswith("train") else rows // 2
        with gzip.open(path, "rt", encoding="utf-8") as file:
            if ".txt" in path.name:
                content = file.read(number * 900)
            else:
                content = "".join(itertools.islice(file, number))
        (target / path.name.removesuffix(".gz")).write_text(content, encoding="utf-8")


def read_results() -> list[dict[str, Any]]:
    """Read the runs that there are."""
    if not RESULTS.is_file():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def write_table() -> None:
    """Write one row for each run."""
    lines = [
        "# Tasks: adapter, full fine-tuning, head alone", "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.tasks` (its first lines say "
        f"how); torch {version('torch')}, transformers {version('transformers')}, inlay "
        f"{version('inlay')}, {platform.machine()}. One run a row, defaults of each method, "
        "no search. Times are of a shared machine and cannot be compared.", "",
        "| task | data | rows | base | method | seed | metric | test | 95 % | best free baseline | "
        "share |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for result in sorted(read_results(), key=lambda r: sorted(r["key"].items(), key=str)):
        key, metrics = result["key"], result["metrics"]
        report = metrics["test"]
        name = report["metric"]
        is_plain = metrics["headline"]["form"] == "perplexity"
        scale, best = (1, min) if is_plain else (100, max)
        low, high = (f"{scale * end:.2f}" for end in report[f"{name}_ci"])
        baseline = best((own[name] for own in metrics["baselines"].values()), default=0.0)
        share = metrics["adapter_parameters"] / metrics["total_parameters"]
        lines.append(
            f"| {metrics['task']} | {key['data']} | {key['rows']} | {key['base']} | "
            f"{key['method']} | {key['seed']} | {name} | **{scale * report[name]:.2f}** | "
            f"{low} - {high} | {scale * baseline:.2f} | {share:.2%} |"
        )
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
