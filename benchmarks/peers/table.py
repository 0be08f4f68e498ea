"""The Markdown table of all rows that were measured."""

import os
import platform
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers.alternate import value
from benchmarks.peers.rows import ROWS, Row

_HEAD = """# Beside AdapterHub, PEFT and full fine-tuning

Ratios are A / B. A and B run in turn, each in a process of its own (rows marked * in one process,
repetition by repetition); a value is the median over pairs, in brackets the least and the greatest,
and the ratio the median of the pairs' ratios. "To the end of training" counts from the start of the
process, imports included. Memory is the peak above that of the process after its imports.
AdapterHub at its default is `seq_bn` with `AdapterTrainer` at 1e-4, PEFT is LoRA of rank 8 at query
and value with `Trainer` at 1e-3, both from their documentation; full fine-tuning is `Trainer` at
its own 5e-5. At their best they have batches of rows of like length, a warm-up, a head over the
mean, our learning rates, which were chosen on validation rows, and bfloat16 autocast where the
processor has products in it. Rows that we lose are here too."""


def table(measured: dict[str, Any]) -> str:
    """Return the table and, for each row, what ran.

    Args:
        measured: Row name -> date, command, pairs of readings, and what went wrong.
    """
    lines = [
        _HEAD,
        "",
        f"{processor()}, {os.cpu_count()} cores. Rows may be of several machines; `cpu` below says "
        "with which instructions PyTorch computed one.",
        "",
        "| row | what | A | B | A / B | goal | met | quality A | quality B |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    details = ["", "## What ran", ""]
    for row in ROWS.values():
        if row.name in measured:
            lines.append(line(row, measured[row.name]))
            details += detail(row, measured[row.name])
    return "\n".join(lines + details) + "\n"


def line(row: Row, found: dict[str, Any]) -> str:
    """Return a row of the table; one that could not be compared is told as well."""
    name = row.name + ("*" if row.together else "")
    if not found["pairs"]:
        return f"| {name} | {row.what} | - | - | not compared | {row.goal} | no | | |"
    sides = [
        [value(row, reading) for reading in side] for side in zip(*found["pairs"], strict=True)
    ]
    ratios = ratios_of(row, found)
    shown = [
        f"{size(row, median(values))} ({size(row, min(values))} - {size(row, max(values))})"
        for values in sides
    ]
    qualities = [quality(row, side) for side in zip(*found["pairs"], strict=True)]
    met = {None: "", True: "yes", False: "**no**"}[is_met(row, found)]
    return (
        f"| {name} | {row.what} | {shown[0]} | {shown[1]} | **{median(ratios):.2f}** "
        f"({min(ratios):.2f} - {max(ratios):.2f}) | {goal(row)} | {met} | {qualities[0]} "
        f"| {qualities[1]} |"
    )


def ratios_of(row: Row, found: dict[str, Any]) -> list[float]:
    """Return A / B for each pair, within one process for each repetition."""
    if row.together:
        return [
            median(x / y for x, y in zip(a["seconds"], b["seconds"], strict=True))
            for a, b in found["pairs"]
        ]
    return [value(row, a) / value(row, b) for a, b in found["pairs"]]


def is_met(row: Row, found: dict[str, Any]) -> bool | None:
    """Tell whether the goal is met, quality included; `None` without one."""
    if not row.goal:
        return None
    sign, number = row.goal.split()
    ratio = median(ratios_of(row, found))
    is_met = ratio >= float(number) if sign == ">=" else ratio <= float(number)
    if row.not_lower or row.free:
        a, b = (
            median(reading["facts"][row.quality] for reading in side)
            for side in zip(*found["pairs"], strict=True)
        )
        is_met = is_met and (b >= a - row.within if row.not_lower else a <= b)
    return is_met and not found.get("problem")


def goal(row: Row) -> str:
    """Return the goal in words."""
    if row.free:
        return f"{row.goal}, no more {row.quality}"
    if not row.not_lower or not row.goal:
        return row.goal
    most = f" by more than {row.within:g}" if row.within else ""
    return f"{row.goal}, {row.quality} not lower{most}"


def quality(row: Row, side: Any) -> str:
    """Return the fact beside the times, its median over pairs."""
    values = [reading["facts"][row.quality] for reading in side if row.quality in reading["facts"]]
    return f"{row.quality.replace('_', ' ')} {median(values):.4g}" if values else ""


def size(row: Row, number: float) -> str:
    """Return a time or a size with its unit."""
    if row.measure == "memory":
        return f"{number:.0f} MB"
    return f"{number:.1f} s" if number >= 10 else f"{number * 1e3:.4g} ms"


def detail(row: Row, found: dict[str, Any]) -> list[str]:
    """Return command, date, versions and conditions of a row."""
    lines = [f"- **{row.name}**, {found['date']}, `{found['command']}`"]
    if found.get("problem"):
        lines.append(f"  - went wrong: {' '.join(found['problem'].split())}")
    if not found["pairs"]:
        return lines
    sides = zip(*found["pairs"], strict=True)
    for letter, side, text in zip("AB", sides, (row.a, row.b), strict=True):
        facts = {k: v for k, v in side[0]["facts"].items() if k not in (row.quality, "seed")}
        facts.pop("end_of_training", None)
        about = ", ".join(f"{key.replace('_', ' ')} {short(v)}" for key, v in facts.items())
        versions = ", ".join(f"{name} {number}" for name, number in side[0]["versions"].items())
        script, _, case = text.partition(" ")
        times = f"{median(reading['process'] for reading in side):.1f} s"
        lines.append(
            f'  - {letter}: `-m benchmarks.peers.{script} --case "{case}"`; {about}; '
            f"{side[0]['threads']} threads; {versions}; {len(side)} processes of {times}"
        )
    return lines


def short(found: Any) -> str:
    """Return a fact as text."""
    return f"{found:.4g}" if isinstance(found, float) else str(found)


def processor() -> str:
    """Return the processor's name, and whether it multiplies bfloat16 in hardware."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    has_amx = any("amx_bf16" in text for text in lines if text.startswith("flags"))
    return (names[0] if names else platform.machine()) + (" with AMX" if has_amx else "")
