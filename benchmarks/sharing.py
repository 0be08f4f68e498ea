"""Whether a task with 500 training rows gains from others that are learnt with it or below it.

    python -m benchmarks.sharing --seeds 1,2,3

Four ways to train one adapter for such a task, all with the same method, placement and rates:

- alone: an adapter on its 500 rows;
- with a rich task: one adapter and a head for each, 1,500 rows of a neighbouring set beside them;
- with the others: one adapter for the three tasks of 500 rows;
- above: the adapter of the second way stays frozen, another is stacked on it (`stack_on`) and
  learns from the 500 rows alone.

The rows of train are drawn by the seed; validation (250 rows) and test are the same for all. Each
run is one line of the results file with the counts of every test row, and a run that is there
already is not repeated. `--table` only writes the table.
"""

import argparse
import json
import platform
import random
import tempfile
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import inlay
from benchmarks.result_lines import ResultLines, spread
from inlay.data.rows import Example
from inlay.data.sources import read_dataset
from inlay.metrics.headline import Headline

RESULTS = ResultLines("sharing")
ROWS, RICH_ROWS, VALIDATION, TEST = 500, 1500, 250, 800
SETTINGS: dict[str, Any] = {"method": "bottleneck", "layers": "upper", "max_length": 128}
EPOCHS, RICH_EPOCHS, OTHERS_EPOCHS = 7, 4, 5
SAMPLING = {"with a rich task": "temperature", "with the others": "round-robin"}


class Low(NamedTuple):
    """A task of few rows, and the set that is learnt with it."""

    data: str
    rich: str
    task: str


TASKS = (
    Low("banking77", "clinc150", "text-classification"),
    Low("rotten_tomatoes", "movie_reviews", "text-classification"),
    Low("ner_ncbi_disease", "ner_bc5cdr", "tagging"),
)
WAYS = ("alone", "with a rich task", "with the others", "above")


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    for seed in [] if options.table else map(int, options.seeds.split(",")):
        with tempfile.TemporaryDirectory() as name:
            run_seed(Path(name), seed, options.data_root)
    write_table()


def run_seed(folder: Path, seed: int, root: Path) -> None:
    """Train every task of few rows in every way, unless that was done."""
    done = {(r["data"], r["way"]) for r in RESULTS.read() if r["seed"] == seed}
    if done == {(low.data, way) for low in TASKS for way in WAYS}:
        return
    for low in TASKS:
        for data, rows in ((low.data, ROWS), (low.rich, RICH_ROWS)):
            write_cut(root / data, folder / data, rows, low.task, seed)
    write_mixture(folder / "others.yaml", [low.data for low in TASKS], "with the others")
    others = train(folder, "others.yaml", "others", seed, task="joint", epochs=OTHERS_EPOCHS)
    for low in TASKS:
        write_mixture(folder / f"{low.data}.yaml", [low.data, low.rich], "with a rich task")
        rich = train(
            folder, f"{low.data}.yaml", f"{low.data} rich", seed, task="joint", epochs=RICH_EPOCHS
        )
        own = {"task": low.task, "epochs": EPOCHS}
        runs = {
            "alone": train(folder, low.data, f"{low.data} alone", seed, **own),
            "with a rich task": rich,
            "with the others": others,
            "above": train(
                folder, low.data, f"{low.data} above", seed, stack_on=str(rich.folder), **own
            ),
        }
        for way, run in runs.items():
            if (low.data, way) not in done:
                add_result(folder, low, way, seed, run)


def train(folder: Path, data: str, name: str, seed: int, **settings: Any) -> inlay.Run:
    """Train once."""
    given = {**SETTINGS, **settings}
    return inlay.train(folder / data, out=str(folder / name), seed=seed, **given)


def write_cut(source: Path, target: Path, rows: int, task: str, seed: int) -> None:
    """Write rows of a set; those of train are drawn by the seed, the others are always the same."""
    target.mkdir()
    splits = read_dataset(str(source), task=task, max_rejected=1.0).splits
    for split, number, draw in (
        ("train", rows, seed), ("validation", VALIDATION, 0), ("test", TEST, 0),
    ):  # fmt: skip
        own = random.Random(draw).sample(splits[split], min(number, len(splits[split])))
        if split == "train":
            known = classes(own)
        else:
            own = [row for row in own if classes([row]) <= known]
        lines = [json.dumps(plain(row)) + "\n" for row in own]
        (target / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def classes(rows: Sequence[Example]) -> set[str]:
    """Return the labels or tags of rows."""
    return {name for row in rows for name in (row.parts or {}).get("tags", [row.label])}


def plain(row: Example) -> dict[str, Any]:
    """Write a row as its set does."""
    if row.parts:
        return {"tokens": list(row.parts["tokens"]), "tags": list(row.parts["tags"])}
    return {"text": row.text, "label": row.label}


def write_mixture(path: Path, names: Sequence[str], way: str) -> None:
    """Write the file that names the tasks which are learnt together."""
    tasks = {low.data: low.task for low in TASKS} | {low.rich: low.task for low in TASKS}
    lines = [f"  {name}: {{data: {name}, task: {tasks[name]}}}" for name in names]
    text = "\n".join([f"sampling: {SAMPLING[way]}", "tasks:", *lines])
    path.write_text(text + "\n", encoding="utf-8")


def add_result(folder: Path, low: Low, way: str, seed: int, run: inlay.Run) -> None:
    """Measure a run on the test rows of one task, write a line and say it."""
    predictor = inlay.load_predictor(run.folder)
    if way.startswith("with"):
        predictor = predictor.member(low.data)
    test = read_dataset(str(folder / low.data), task=low.task).splits["test"]
    task = predictor.task
    answers = predictor.answer(test)
    counts = [task.counts(row, answer) for row, answer in zip(test, answers, strict=True)]
    value = task.headline.value(counts)
    columns = ["".join(np.base_repr(int(n), 36) for n in own) for own in zip(*counts, strict=True)]
    kept = ("adapter_parameters", "train_seconds", "epochs_run", "precision", "versions")
    result = {
        "data": low.data, "rich": low.rich, "way": way, "seed": seed, "n": len(test),
        "metric": task.headline.name, "form": task.headline.form, "value": value,
        **{name: run.metrics[name] for name in kept}, "counts": columns,
    }  # fmt: skip
    RESULTS.add(result)
    print(low.data, way, seed, task.headline.name, round(value, 4), flush=True)


def write_table() -> None:
    """Write one row for each task and way."""
    results = RESULTS.read()
    versions = results[0]["versions"] if results else {"torch": "", "transformers": ""}
    lines = [
        "# Sharing: tasks of 500 training rows, alone and with others", "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.sharing`, whose first lines "
        f"say what the ways are; MiniLM (22.7 M weights), torch {versions['torch']}, transformers "
        f"{versions['transformers']}, inlay {version('inlay')}, {platform.machine()}. All runs: "
        f"{SETTINGS['method']} at the upper blocks, at most {SETTINGS['max_length']} tokens, "
        f"default learning rate, {EPOCHS} epochs on 500 rows, {RICH_EPOCHS} with a rich task and "
        f"{OTHERS_EPOCHS} with the others, so that the rows of a task are seen 5 to 7 times (rows "
        "are mixed by the square roots of the sizes, three sets of one size evenly). "
        "Nothing was searched. In per cent: mean over the seeds with the lowest and the highest; "
        "the difference from alone with a 95 % interval, by resampling test rows, what the seeds "
        "gave for a row together. A difference whose interval holds 0 is no gain.", "",
        "| task | rich task | metric | test rows | way | seeds | result | against alone | "
        "adapter weights |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for low in TASKS:
        own = [result for result in results if result["data"] == low.data]
        alone = [result for result in own if result["way"] == "alone"]
        for way in WAYS:
            found = [result for result in own if result["way"] == way]
            if found:
                lines.append(table_row(way, found, alone))
    missing = [low.data for low in TASKS if low.data not in {r["data"] for r in results}]
    lines += ["", f"Not run yet: {', '.join(missing)}."] if missing else []
    RESULTS.write_table(lines)


def table_row(way: str, found: Sequence[dict[str, Any]], alone: Sequence[dict[str, Any]]) -> str:
    """Return the line of one way."""
    first = found[0]
    seeds = {result["seed"] for result in found}
    against = ""
    paired = [result for result in alone if result["seed"] in seeds]
    if way != "alone" and len(paired) == len(found):
        headline = Headline(first["metric"], first["form"])
        gain = headline.difference(pooled(paired), pooled(found))
        against = f"{100 * gain.mean:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
    return (
        f"| {first['data']} | {first['rich']} | {first['metric']} | {first['n']} | {way} | "
        f"{', '.join(map(str, sorted(seeds)))} | {spread([r['value'] for r in found])} | "
        f"{against} | {first['adapter_parameters']:,} |"
    )


def pooled(results: Sequence[dict[str, Any]]) -> list[list[float]]:
    """Return for each test row the sums of its counts over the seeds."""
    sums = sum(
        np.array([[int(digit, 36) for digit in column] for column in result["counts"]]).T
        for result in results
    )
    rows: list[list[float]] = np.asarray(sums, dtype=float).tolist()
    return rows


if __name__ == "__main__":
    main()
