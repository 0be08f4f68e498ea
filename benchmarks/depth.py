"""Accuracy by depth: the default adapter in the last block up to all blocks, through `inlay.depth`.

    python -m benchmarks.depth --sets banking77=2000,snli_small=2000 --seeds 3

Each set is one line of `results/depth.jsonl`, and a set that is there already is not repeated. Of
train so many rows are used as stand behind the set's name, the first ones unless the file is sorted
by label; validation, by which depths are compared, has at most `--validation`. `--table` only
writes the table.
"""

import argparse
import gzip
import itertools
import json
import platform
import statistics
import tempfile
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import inlay
from benchmarks.result_lines import ResultLines
from inlay.training.depth import record

RESULTS = ResultLines("depth")
SETS = (
    "banking77=1000,rotten_tomatoes=800,snli_small=1000,sib200_eng_Latn=701,sms_spam=500,"
    "ner_wnut17=800,subjectivity=500"
)


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", type=int, default=500)
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    if not options.table:
        for part in options.sets.split(","):
            name, _, rows = part.partition("=")
            run(name, int(rows), options)
    write_table()


def run(name: str, rows: int, options: Any) -> None:
    """Search one set, unless that was done."""
    key = {"data": name, "rows": rows, "validation": options.validation, "seeds": options.seeds}
    if RESULTS.has(key):
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"train": rows, "validation": options.validation, "test": 300}
        write_taken(options.data_root / name, Path(folder), sizes)
        found = inlay.depth(
            folder, seeds=options.seeds, out=Path(folder) / "runs", drop_unseen_labels=True
        )
    RESULTS.add({"key": key, "found": record(found)})
    write_table()


def write_taken(source: Path, folder: Path, sizes: dict[str, int]) -> None:
    """Write some rows of each split of a set; `sizes` says how many."""
    for split, number in sizes.items():
        with gzip.open(source / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            lines = taken(file.read().splitlines(), number)
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def taken(lines: list[str], number: int) -> list[str]:
    """Return the first rows, or of a file that is sorted by label as many evenly spread ones."""
    labels = [str(json.loads(line).get("label")) for line in lines]
    turns = sum(before != after for before, after in itertools.pairwise(labels))
    if turns >= 2 * len(set(labels)) or len(set(labels)) == 1:  # tagging has no label
        return lines[:number]
    number = min(number, len(lines))
    return [lines[index * len(lines) // number] for index in range(number)]


def write_table() -> None:
    """Write one row for each set and depth, and how each depth does over the sets."""
    results = RESULTS.read()
    lines = [
        "# Accuracy by depth",
        "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.depth`; MiniLM (6 blocks, "
        f"22.7 M weights), torch {version('torch')}, transformers {version('transformers')}, "
        f"inlay {version('inlay')}, {platform.machine()}, one thread of a shared machine. "
        "The default adapter with all defaults, 5 epochs; for tagging the default is wider. "
        "`validation` is the mean over seeds, "
        "`interval` the 95 % bootstrap interval over its rows (mean of the seeds' ends), `seeds` "
        "the lowest and highest seed. Test was not looked at. Times are of training alone; the "
        "fewest blocks train first and fill the cache that all depths share.",
        "",
        "| data | rows | layers | blocks | metric | validation | interval | seeds | seconds | "
        "weights | advised |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        key, found = result["key"], result["found"]
        for one in found["depths"]:
            low, high = (f"{100 * value:.1f}" for value in one["interval"])
            seeds = [100 * score for score in one["scores"]]
            lines.append(
                f"| {key['data']} | {key['rows']} | {one['layers']} | {one['blocks']} "
                f"| {found['metric']} | **{100 * one['mean']:.2f}** | {low} to {high} "
                f"| {min(seeds):.1f} to {max(seeds):.1f} | {one['seconds']:.1f} "
                f"| {one['adapter_parameters']:,} "
                f"| {'yes' if one['layers'] == found['recommended'] else ''} |"
            )
    lines += ["", *summary(results)]
    RESULTS.write_table(lines)


def summary(results: list[dict[str, Any]]) -> list[str]:
    """Return a table over the sets: how far each depth is from all blocks, and its time."""
    lines = [
        "Over the sets, beside adapters in all blocks:",
        "",
        "| layers | points of validation, mean | worst | best | time / all, median |",
        "|---|---|---|---|---|",
    ]
    layers = list(dict.fromkeys(d["layers"] for r in results for d in r["found"]["depths"]))
    for name in layers:
        gains, shares = [], []
        for result in results:
            by_layers = {one["layers"]: one for one in result["found"]["depths"]}
            if name in by_layers and "all" in by_layers:
                gains.append(100 * (by_layers[name]["mean"] - by_layers["all"]["mean"]))
                shares.append(by_layers[name]["seconds"] / by_layers["all"]["seconds"])
        lines.append(
            f"| {name} | {statistics.mean(gains):+.2f} | {min(gains):+.2f} | {max(gains):+.2f} "
            f"| {statistics.median(shares):.2f} |"
        )
    return lines


if __name__ == "__main__":
    main()
