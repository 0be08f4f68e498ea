"""Peak memory as predicted in the plan, beside what a training then took, by shape.

    python -m benchmarks.memory

Each shape is a process of its own: `inlay.train` on long texts that are cut to some tokens, over
few rows, without replay if nothing else is said. Both numbers are of the whole process; `above
idle` leaves out what it held after its imports. Writes `results/memory.md`.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "results" / "memory.md"
SHAPES: tuple[dict[str, Any], ...] = (
    {"batch_size": 16, "max_length": 64},
    {"batch_size": 32, "max_length": 64, "layers": "all"},
    {"batch_size": 32, "max_length": 128},
    {"batch_size": 64, "max_length": 128, "layers": "all"},
    {"batch_size": 32, "max_length": 256},
    {"batch_size": 16, "max_length": 256, "layers": "all", "precision": "float32"},
    {"batch_size": 32, "max_length": 128, "method": "lora"},
    {"batch_size": 16, "max_length": 128, "method": "full"},
    {"batch_size": 32, "max_length": 64, "method": "full", "precision": "float32"},
    {"batch_size": 32, "max_length": 128, "replay": True, "epochs": 2},
    {"batch_size": 32, "max_length": 128, "method": "side"},
    {"batch_size": 32, "max_length": 128, "method": "side", "replay": True, "epochs": 2},
    {"batch_size": 32, "max_length": 128, "task": "tagging"},
    {"batch_size": 32, "max_length": 128, "task": "similarity"},
)
_RUN = """
import json, os, sys, inlay, torch
from transformers import BertForSequenceClassification
from inlay.training.memory import held, peak_since_reset, reset_peak
from inlay.training.reporter import SilentReporter

idle = held(torch.device("cpu"))

class Peaks(SilentReporter):
    def on_plan(self, plan):
        self.predicted = plan.peak_bytes
        reset_peak(torch.device("cpu"))
    def on_evaluation(self, evaluation):
        if evaluation.epoch < settings["epochs"]:
            return
        print(json.dumps([self.predicted, peak_since_reset(torch.device("cpu")), idle]), flush=True)
        os._exit(0)  # what comes after training is not asked

settings = json.loads(sys.argv[1])
inlay.train(reporter=Peaks(), **settings)
"""


def main() -> None:
    """Run every shape and write the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    lines = [
        "# Peak memory: predicted and measured",
        "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.memory`; MiniLM, torch "
        f"{version('torch')}, transformers {version('transformers')}, inlay {version('inlay')}, "
        f"{platform.machine()}. One epoch of 6 batches, without replay, if nothing else is said; "
        "MB of the whole process. `error` is that of the whole, `above idle` leaves out what the "
        "process held after its imports. States that are replayed are pages of a file, which count "
        "as measured but not as predicted: the system takes them back when it needs them.",
        "",
        "| rows x tokens | settings | predicted | measured | error | above idle |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for number, shape in enumerate(SHAPES):
            predicted, measured, idle = run(shape, Path(folder) / str(number))
            rest = {k: v for k, v in shape.items() if k not in ("batch_size", "max_length")}
            words = ", ".join(f"{key} {value}" for key, value in rest.items()) or "defaults"
            lines.append(
                f"| {shape['batch_size']} x {shape['max_length']} | {words} "
                f"| {predicted / 1e6:.0f} | {measured / 1e6:.0f} "
                f"| {predicted / measured - 1:+.1%} "
                f"| {(predicted - idle) / (measured - idle) - 1:+.1%} |"
            )
            print(lines[-1], flush=True)
    TABLE.write_text("\n".join(lines) + "\n")


def rows_of(task: str) -> list[dict[str, Any]]:
    """Make texts of 10 to 400 words, each with a label, or each word with a tag."""
    generator = random.Random(1)
    words = ["card", "loan", "where", "never", "travel", "about", "money", "again", "help", "lost"]
    texts = [generator.choices(words, k=generator.randint(10, 400)) for _ in range(480)]
    if task == "tagging":
        return [
            {"tokens": text, "tags": ["B-x" if word == "card" else "O" for word in text]}
            for text in texts
        ]
    return [{"text": " ".join(text), "label": "ab"[i % 2]} for i, text in enumerate(texts)]


def run(shape: dict[str, Any], out: Path) -> tuple[int, int, int]:
    """Train once in a fresh process; return the peaks and what was held when idle, in bytes."""
    rows = rows_of(shape.get("task", ""))[: 8 * shape["batch_size"]]
    own = out.with_suffix(".jsonl")
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"data": str(own), "epochs": 1, "replay": False, "out": str(out), **shape}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(settings)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "INLAY_CACHE": str(out) + "-cache"},
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{shape}: {done.stderr[-2000:]}")
    predicted, measured, idle = json.loads(done.stdout.splitlines()[-1])
    return predicted, measured, idle


if __name__ == "__main__":
    main()
