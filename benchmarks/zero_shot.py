"""Labels that were never trained: a third of them is held out, then asked by their names.

    python -m benchmarks.zero_shot --choose --rates 5e-4,1e-3,2e-3
    python -m benchmarks.zero_shot --rates 5e-4 --sets banking77 --seeds 1,2,3
    python -m benchmarks.zero_shot --rates 5e-4 --sets clinc150

The settings are chosen with `--choose`, on a second third of the labels: the adapter is trained on
the last third and measured on validation rows of the second, so neither rows nor names of the
labels held out for the test are looked at. The unadapted base answers in the same way, by cosines
of mean pooled states. Each run is one line of the results file, and a run that is there already is
not repeated. `--table` writes the Markdown table from the results file.
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
from typing import Any

import inlay
from benchmarks.result_lines import ResultLines, spread
from inlay.data.rows import Example
from inlay.data.sources import read_dataset
from inlay.evaluation.answering import answer_rows
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.base import AbstractPrediction
from inlay.tasks.similarity import Similarity

RESULTS = ResultLines("zero_shot")
NO_INTENT = {"oos"}
"""Names that stand for "none of the others", so that a name says nothing of its texts."""


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default="banking77")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--rates", default="", help="learning rates; the task's default if empty")
    parser.add_argument("--layers", default="", help="placements, with | between; the default")
    parser.add_argument("--methods", default="bottleneck", help="with | between")
    parser.add_argument("--epochs", default="1", help="numbers of epochs to try")
    parser.add_argument("--rows", type=int, default=2000, help="rows of train")
    parser.add_argument("--choose", action="store_true", help="measure on validation labels")
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    for data in [] if options.table else options.sets.split(","):
        source = data if data == "banking77" else str(options.data_root / data)
        for seed in map(int, options.seeds.split(",")):
            run_base(data, source, seed, choose=options.choose)
            for settings in combinations(options):
                run_adapter(data, source, seed, settings, options)
    write_table()


def combinations(options: Any) -> list[dict[str, Any]]:
    """Return the settings to be tried."""
    return [
        {"method": method, "learning_rate": float(rate) if rate else None,
         "layers": layers or None, "epochs": int(epochs)}
        for method in options.methods.split("|")
        for rate in options.rates.split(",")
        for layers in options.layers.split("|")
        for epochs in options.epochs.split(",")
    ]  # fmt: skip


def run_base(data: str, source: str, seed: int, *, choose: bool) -> None:
    """Measure the base as it is."""
    key = {"data": data, "seed": seed, "choose": choose, "method": None}
    if RESULTS.has(key):
        return
    trained, asked, rows = divide(source, seed, choose=choose)[:3]
    model, tokenizer = load_base(resolve_base("minilm"))
    found = {}
    for name, labels in {"all": trained + asked, "unseen": asked}.items():
        task = Similarity(labels=tuple(labels), num_trained=0)
        encoded = task.encode(rows, tokenizer, max_length=256)
        answers = answer_rows(task, model, task.build_head(384), encoded, rows, tokenizer)
        found[name] = accuracy(rows, answers)
    add_result(key, found | {"rows": len(rows), "labels": [len(trained), len(asked)]})


def run_adapter(data: str, source: str, seed: int, settings: dict[str, Any], options: Any) -> None:
    """Train on the labels that are not held out and ask all, unless that was done."""
    key = {"data": data, "seed": seed, "choose": options.choose, "train_rows": options.rows}
    key |= settings
    if RESULTS.has(key):
        return
    trained, asked, rows, splits = divide(source, seed, choose=options.choose)
    splits["train"] = random.Random(seed).sample(
        splits["train"], min(options.rows, len(splits["train"]))
    )
    with tempfile.TemporaryDirectory() as folder:
        for split, own in splits.items():
            lines = [json.dumps({"text": row.text, "label": row.label}) + "\n" for row in own]
            (Path(folder) / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        given = {name: value for name, value in settings.items() if value is not None}
        run = inlay.train(
            folder, task="similarity", seed=seed, out=str(Path(folder) / "run"), **given
        )
        predictor = inlay.load_predictor(run.folder)
    found = {
        name: accuracy(rows, predictor.with_labels(labels).answer(rows))
        for name, labels in {"all": trained + asked, "unseen": asked}.items()
    }
    kept = ("learning_rate", "layers", "at", "adapter_parameters", "train_seconds", "precision")
    found |= {name: run.metrics[name] for name in kept}
    found |= {"seen": run.metrics["test"]["accuracy"], "train_rows": len(splits["train"])}
    add_result(key, found | {"rows": len(rows), "labels": [len(trained), len(asked)]})


def divide(
    source: str, seed: int, *, choose: bool
) -> tuple[list[str], list[str], list[Example], dict[str, list[Example]]]:
    """Return the trained labels, the labels asked, rows of these, and the rows to train with.

    Args:
        source: What `read_dataset` takes.
        seed: Draws the thirds.
        choose: Whether to leave the third that is held out for the test aside altogether, and to
            ask the second third instead, on rows of train and validation.
    """
    splits = read_dataset(source).splits
    labels = sorted({row.label for row in splits["train"]} - NO_INTENT)
    random.Random(seed).shuffle(labels)
    third = len(labels) // 3
    asked, trained = labels[:third], labels[third:]
    rows = [row for row in splits["test"] if row.label in asked]
    if choose:
        asked, trained = trained[:third], trained[third:]
        rows = [row for row in splits["validation"] + splits["train"] if row.label in asked]
        rows = random.Random(seed).sample(rows, min(1000, len(rows)))
    own = {
        split: [row for row in splits[split] if row.label in trained]
        for split in ("train", "validation", "test")
    }
    return trained, asked, rows, own


def accuracy(rows: Sequence[Example], answers: Sequence[AbstractPrediction]) -> float:
    """Return the share of rows that were answered rightly."""
    right = [row.label == answer.answer for row, answer in zip(rows, answers, strict=True)]
    return sum(right) / len(right)


def add_result(key: dict[str, Any], found: dict[str, Any]) -> None:
    """Write one line and say it."""
    RESULTS.add({"key": key, "found": found})
    print(f"{key} all {found['all']:.4f} unseen {found['unseen']:.4f}", flush=True)


def write_table() -> None:
    """Write one row for each way of training on a set: means over the seeds, and the range."""
    lines = [
        "# Labels that were never trained",
        "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.zero_shot --sets DATA --seeds "
        f"SEEDS --rows ROWS --rates RATE`, with `--choose` for the second table; MiniLM (22.7 M "
        f"weights), torch {version('torch')}, transformers {version('transformers')}, inlay "
        f"{version('inlay')}, {platform.machine()}. A third of "
        "the labels, drawn by the seed, has no row in train; test rows of these labels are "
        "answered among all labels and among the unseen ones only. Accuracy in per cent, mean "
        "over seeds with the lowest and the highest. Labels are asked by their names in words. "
        "`rows` is for each seed; `seen labels` is the accuracy on test rows of trained labels, "
        "among these. The learning rate was chosen with seed 1, on labels and rows that its test "
        "does not have; labels held out by other seeds may have been among them.",
    ]
    for choose in (False, True):
        lines += ["", "## Chosen on validation labels" if choose else "## Test", ""]
        if choose:
            lines += [
                "Trained on a third of the labels, asked a second third on rows of train and "
                "validation; the third of the test takes no part.", "",
            ]  # fmt: skip
        lines += [
            "| data | what | train rows | epochs | learning rate | seeds | rows | among all | "
            "among unseen | seen labels |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += table_rows([r for r in RESULTS.read() if r["key"]["choose"] == choose])
    RESULTS.write_table(lines)


def table_rows(results: list[dict[str, Any]]) -> list[str]:
    """Return the lines of one table."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        name = json.dumps({k: v for k, v in result["key"].items() if k != "seed"})
        groups.setdefault(name, []).append(result)
    lines = []
    for group in groups.values():
        key, found = group[0]["key"], [result["found"] for result in group]
        seeds = ", ".join(str(result["key"]["seed"]) for result in group)
        start = f"| {key['data']} | unadapted | | | "
        seen = ""
        if key["method"] is not None:
            start = (
                f"| {key['data']} | {key['method']}, {found[0]['layers']} | "
                f"{found[0]['train_rows']} | {key['epochs']} | {found[0]['learning_rate']:g} "
            )
            seen = spread([f["seen"] for f in found])
        lines.append(
            f"{start}| {seeds} | {found[0]['rows']} | {spread([f['all'] for f in found])} "
            f"| {spread([f['unseen'] for f in found])} | {seen} |"
        )
    return lines


if __name__ == "__main__":
    main()
