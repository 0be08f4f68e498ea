"""Numbers in words: counts, shares, durations, sizes; and lines that do not tear them."""

import re
import textwrap

HELD = "\N{NO-BREAK SPACE}"
"""A space at which no line ends."""


def count(number: float) -> str:
    """Return a whole number with its thousands set apart: `13 083`."""
    return f"{number:,.0f}".replace(",", " ")


def weights(number: float) -> str:
    """Return a number of weights in three digits: `812`, `46.1k`, `22.7M`, `1.10B`."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.0f}"


def percent(fraction: float, digits: int = 1) -> str:
    """Return a fraction as `79.2 %`."""
    return f"{100 * fraction:.{digits}f} %"


def duration(seconds: float) -> str:
    """Return a time a person would say: `8 s`, `1 min 50 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min"


def clock(seconds: float) -> str:
    """Return a time as `1:50` or `2:05:00`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(num_bytes: float) -> str:
    """Return a size on disk or in memory: `812 B`, `46 kB`, `1.9 MB`, `23 GB`."""
    amount, unit = float(num_bytes), "B"
    for bigger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, bigger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"


def wrap(text: str, width: int, *, first: str = "", rest: str = "") -> list[str]:
    """Return a text in lines that keep a number with its unit and words with hyphens whole.

    Args:
        text: Of which U+00A0 stands where no line may end either; it is shown as a space.
        width: Columns of a line; a longer word gets a line of its own.
        first: In front of the first line.
        rest: In front of the others.
    """
    held = re.sub(r"(?<=\d) (?=[%\d])", HELD, text)
    lines = textwrap.wrap(
        held, width, initial_indent=first, subsequent_indent=rest, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(HELD, " ") for line in lines]


def labels(task: str, number: int) -> str:
    """Return how many labels a task answers with, which are called tags where words have them."""
    return plural(number, "tag" if task == "tagging" else "label")


def plural(number: int, noun: str) -> str:
    """Return `1 row`, `2 rows`, `12 000 rows`."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"
