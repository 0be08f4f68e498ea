"""Compare runs on the same test rows, and say what is noise."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from inlay.errors import RunError
from inlay.evaluation.records import Record, read_headline, read_records
from inlay.metrics.headline import Headline
from inlay.metrics.significance import Difference


@final
@dataclass(frozen=True, slots=True)
class Compared:
    """One run of a comparison; the first one is what the others are compared with."""

    run: str
    metric: str
    value: float
    interval: tuple[float, float]
    rows: int
    difference: Difference | None


def compare(*runs: str | Path) -> list[Compared]:
    """Compare two or more finished runs on the test rows that they share.

    Args:
        runs: Folders; the first is the reference.

    Returns:
        One entry for each run, with its difference from the first: a paired bootstrap interval
        and a p value, of McNemar's exact test where rows are right or wrong.

    Raises:
        RunError: If there are fewer than two runs, one has not finished, or their metrics or
            test rows differ.
    """
    if len(runs) < 2:
        raise RunError(f"compare needs two runs or more, not {len(runs)}.")
    records = [read_records(run) for run in runs]
    headlines = [read_headline(run) for run in runs]
    for run, headline in zip(runs, headlines, strict=True):
        if headline != headlines[0]:
            raise RunError(
                f"{run} is measured by {headline.name} and {runs[0]} by {headlines[0].name}, so "
                "they cannot be compared."
            )
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
        compared.append(_compared(str(run), headlines[0], ordered, list(first.values())))
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


def _compared(
    run: str, headline: Headline, own: Sequence[Record], reference: Sequence[Record]
) -> Compared:
    counts = [record.counts for record in own]
    return Compared(
        run=run,
        metric=headline.name,
        value=headline.value(counts),
        interval=headline.interval(counts),
        rows=len(own),
        difference=headline.difference([record.counts for record in reference], counts),
    )


def _without_difference(entry: Compared) -> Compared:
    return dataclasses.replace(entry, difference=None)
