"""Time `inlay --help` and `inlay inspect` of a CSV with 100,000 rows, as whole processes.

python -m benchmarks.startup
"""

import csv
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

TABLE = Path(__file__).parent / "results" / "startup.md"
_RUNS = 9


def main() -> None:
    """Measure both and write the table."""
    program = [str(Path(sys.executable).parent / "inlay")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.csv"
        write_rows(path)
        rows = [
            ("inlay --help", "0.3", seconds([*program, "--help"])),
            ("inlay inspect (100,000 rows of 30 words)", "1.5",
             seconds([*program, "inspect", str(path)])),
        ]  # fmt: skip
    lines = [
        "# Start-up",
        "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.startup`; whole processes, "
        f"{_RUNS} runs, 2 cores of a shared machine.",
        "",
        "| command | goal, s | median, s | fastest | slowest |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {goal} | {statistics.median(times):.2f} | {min(times):.2f} "
        f"| {max(times):.2f} |"
        for name, goal, times in rows
    ]
    TABLE.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def write_rows(path: Path) -> None:
    """Write a file with 100,000 rows of 30 words."""
    generator = random.Random(1)
    words = [f"word{number}" for number in range(3000)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "label"])
        for _ in range(100_000):
            text = " ".join(generator.choices(words, k=30))
            writer.writerow([text, generator.choice(["good", "bad", "mixed"])])


def seconds(command: list[str]) -> list[float]:
    """Run a command several times, once before to warm the disk's cache."""
    times = []
    for _ in range(_RUNS + 1):
        started = time.monotonic()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.monotonic() - started)
    return times[1:]


if __name__ == "__main__":
    main()
