"""Compare runs on the same test rows, and say what is noise."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from inlay.errors import RunError
from inlay.evaluation.records import Record, read_records
from inlay.metrics.classification import macro_f1
from inlay.metrics.significance import Difference, bootstrap_interval, paired_difference


@final
@dataclass(frozen=True, slots=True)
class Compared:
    """One run of a comparison; the first one is what the others are compared with."""

    run: str
    accuracy: float
    accuracy_ci: tuple[float, float]
    macro_f1: float
    rows: int
    difference: Difference | None


def compare(*runs: str | Path) -> list[Compared]:
    """Compare two or more finished runs on the test rows that they share.

    Args:
        runs: Folders; the first is the reference.

    Returns:
        One entry for each run, with its difference from the first: a paired bootstrap interval
        and the p value of McNemar's exact test.

    Raises:
        RunError: If there are fewer than two runs, one has not finished, or their test rows
            differ.
    """
    if len(runs) < 2:
        raise RunError(f"compare needs two runs or more, not {len(runs)}.")
    records = [read_records(run) for run in runs]
    first = _by_row(records[0])
    compared = []
    for run, own in zip(runs, records, strict=True):
        by_row = _by_row(own)
        if set(by_row) != set(first):
            raise RunError(
                f"{run} and {runs[0]} were tested on different rows ({len(own)} and "
                f"{len(records[0])}), so their scores cannot be compared. Evaluate both on one "
                "file: inlay evaluate RUN DATA."
            )
        ordered = [by_row[key] for key in first]
        compared.append(_compared(str(run), ordered, list(first.values())))
    return [_without_difference(compared[0]), *compared[1:]]


def _by_row(records: Sequence[Record]) -> dict[tuple[str | None, ...], Record]:
    """Key each record by text, label, line, and its number among those that agree in all three.

    Without the folder, so that the same file may lie elsewhere.
    """
    seen: Counter[tuple[str | None, ...]] = Counter()
    by_row: dict[tuple[str | None, ...], Record] = {}
    for record in records:
        key = (record.text, record.pair, record.label, record.row.rpartition(":")[2])
        by_row[*key, str(seen[key])] = record
        seen[key] += 1
    return by_row


def _compared(run: str, own: Sequence[Record], reference: Sequence[Record]) -> Compared:
    correct = [record.is_correct for record in own]
    return Compared(
        run=run,
        accuracy=sum(correct) / len(correct),
        accuracy_ci=bootstrap_interval([float(right) for right in correct]),
        macro_f1=macro_f1([r.label for r in own], [r.predicted for r in own]),
        rows=len(own),
        difference=paired_difference([record.is_correct for record in reference], correct),
    )


def _without_difference(entry: Compared) -> Compared:
    return Compared(entry.run, entry.accuracy, entry.accuracy_ci, entry.macro_f1, entry.rows, None)
