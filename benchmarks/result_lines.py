"""The results file of a benchmark: one line for each run, so that none is repeated."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, final

Result = dict[str, Any]
"""What a run gave; `key` tells it from others."""

_FOLDER = Path(__file__).parent / "results"


@final
class ResultLines:
    """The runs of one benchmark, in the order in which they were made.

    Args:
        name: Of the benchmark.
        folder: Where its results are.
    """

    def __init__(self, name: str, folder: Path = _FOLDER) -> None:
        self.path = folder / f"{name}.jsonl"
        self.table = folder / f"{name}.md"

    def read(self) -> list[Result]:
        """Read the runs that there are."""
        if not self.path.is_file():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def has(self, key: Result) -> bool:
        """Tell whether a run was made."""
        return any(result["key"] == key for result in self.read())

    def add(self, result: Result) -> None:
        """Write the line of a run."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")

    def of(self, keys: Iterable[Result]) -> list[Result]:
        """Return those of some runs that were made, in the order of their keys."""
        results = self.read()
        return [result for key in keys for result in results if result["key"] == key]

    def by_rate(self, key_of: Callable[[float], Result]) -> dict[float, float]:
        """Return the score on validation by learning rate.

        Args:
            key_of: Gives the key of the run with a rate.
        """
        return {
            result["rate"]: result["validation"]
            for result in self.read()
            if result["key"] == key_of(result["rate"])
        }

    def write_table(self, lines: Iterable[str]) -> None:
        """Write the lines of the table."""
        self.table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def spread(values: Sequence[float], scale: float = 100) -> str:
    """Write the mean of some seeds with the lowest and the highest; in per cent unless scaled."""
    own = [scale * value for value in values]
    mean = f"**{statistics.mean(own):.2f}**"
    return mean if len(own) == 1 else f"{mean} ({min(own):.2f} to {max(own):.2f})"
