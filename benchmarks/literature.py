"""The examples of the literature with three seeds, and what gained and what did not.

    python -m benchmarks.literature --data ../shared/data --work ../literature

Runs each example for each seed that is not in `results/literature.jsonl` yet, so it can be stopped
and started again; what is trained first is kept in `--work`. `--table` only writes the table.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.result_lines import ResultLines

RESULTS = ResultLines("literature")
EXAMPLES = Path(__file__).parents[1] / "examples"

Figures = dict[str, dict[int, float]]
"""What was measured -> seed -> per cent."""

FUSED, KNOWING = "fusion of the three", "fusion of knowledge and task adapter"
COMPARISONS = {
    "adapter_fusion": [
        (FUSED, "new adapter"),
        (FUSED, "head over the best on validation"),
        (FUSED, "head alone"),
    ],
    "knowledge_adapter": [
        (KNOWING, "task adapter"),
        (KNOWING, "fusion of random and task adapter"),
        ("head over the knowledge", "head alone"),
    ],
    "mad_x": [
        (f"{code}: swapped for its own", f"{code}: {other}")
        for code in ("de", "tr", "sw")
        for other in ("English left in", "no language adapter")
    ],
}
"""Example -> what is compared with what."""


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/literature"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--examples", nargs="+", default=list(COMPARISONS))
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    for seed in [] if options.table else options.seeds:
        for example in options.examples:
            if not is_there(example, seed):
                run_one(example, seed, options)
    write_table()


def run_one(example: str, seed: int, options: argparse.Namespace) -> None:
    """Run an example with one seed; its figures are kept when all of them are there."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "figures.jsonl"
        command = [
            sys.executable, str(EXAMPLES / f"{example}.py"), "--data", str(options.data),
            "--work", str(options.work / example), "--record", str(record), "--seeds", str(seed),
        ]  # fmt: skip
        subprocess.run(command, check=True)
        for line in record.read_text().splitlines():
            RESULTS.add(json.loads(line))
    write_table()


def read(example: str) -> Figures:
    """Read an example's figures."""
    figures: Figures = {}
    for line in RESULTS.read():
        if line["example"] == example:
            figures.setdefault(line["what"], {})[line["seed"]] = 100 * line["value"]
    return figures


def is_there(example: str, seed: int) -> bool:
    """Tell whether all that is compared was measured with a seed."""
    figures = read(example)
    wanted = {what for pair in COMPARISONS[example] for what in pair}
    return all(seed in figures.get(what, {}) for what in wanted)


def write_table() -> None:
    """Write all figures, and each comparison with a verdict."""
    lines = [
        "# The literature's examples", "",
        "Written by `python -m benchmarks.literature`, which runs the programs of `examples` with "
        f"their defaults; MiniLM, torch {version('torch')}, transformers "
        f"{version('transformers')}, inlay {version('inlay')}, {platform.machine()}, one thread. "
        "No search over settings. Test accuracy in per cent. A verdict is `gained` or `lost` if "
        "all of three seeds or more agree; everything else is `not clear`.",
    ]  # fmt: skip
    for example, pairs in COMPARISONS.items():
        figures = read(example)
        missing = [str(seed) for seed in (1, 2, 3) if not is_there(example, seed)]
        lines += ["", f"## {example}.py", ""]
        if missing:
            lines += [f"Unfinished: seeds {', '.join(missing)} have not been run to the end.", ""]
        lines += ["| what | mean | lowest | highest | seeds |"]
        lines += ["|---|---|---|---|---|"]
        for what, own in figures.items():
            values = list(own.values())
            lines.append(
                f"| {what} | **{statistics.mean(values):.2f}** | {min(values):.2f} | "
                f"{max(values):.2f} | {', '.join(map(str, sorted(own)))} |"
            )
        lines += ["", "| compared | difference | by seed | verdict |", "|---|---|---|---|"]
        lines += [compared(figures, *pair) for pair in pairs]
    RESULTS.write_table(lines)


def compared(figures: Figures, one: str, other: str) -> str:
    """Write one row: the differences on the same seeds, and what they come to."""
    seeds = sorted(set(figures.get(one, {})) & set(figures.get(other, {})))
    gains = [figures[one][seed] - figures[other][seed] for seed in seeds]
    if not gains:
        return f"| {one} - {other} | | | not measured |"
    verdict = "not clear"
    if len(gains) >= 3 and min(gains) > 0:
        verdict = "gained"
    elif len(gains) >= 3 and max(gains) < 0:
        verdict = "lost"
    by_seed = ", ".join(f"{gain:+.2f}" for gain in gains)
    return f"| {one} - {other} | **{statistics.mean(gains):+.2f}** | {by_seed} | {verdict} |"


if __name__ == "__main__":
    main()
