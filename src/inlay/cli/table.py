"""Plain tables: columns as wide as their content, cut to the terminal, whole when piped."""

from collections.abc import Sequence

_GAP = "  "


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    tail: Sequence[str] = (),
    limit: int | None = None,
) -> str:
    """Lay out rows below a header.

    Args:
        header: Names of the columns.
        rows: Cells, as many in each row as there are columns.
        right: Names of the columns that are set to the right: numbers.
        tail: Names of the columns of which the end is kept if they are cut: paths.
        limit: Columns of the terminal that a line may take; a line that is longer has its widest
            cells cut. `None` for no limit.

    Returns:
        Lines without trailing blanks.
    """
    cells = [list(header), *([" ".join(cell.split()) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    if limit is not None:
        widths = _fitted(widths, header, limit - len(_GAP) * (len(header) - 1))
    lines = []
    for row in cells:
        shown = []
        for name, cell, wide in zip(header, row, widths, strict=True):
            cut = shorten(cell[::-1], wide)[::-1] if name in tail else shorten(cell, wide)
            shown.append(cut.rjust(wide) if name in right else cut.ljust(wide))
        lines.append(_GAP.join(shown).rstrip())
    return "\n".join(lines)


def shorten(text: str, limit: int) -> str:
    """Cut a text to a number of columns; three dots show that it was cut."""
    if len(text) <= limit:
        return text
    return text[: limit - 3] + "..." if limit > 3 else text[:limit]


def _fitted(widths: list[int], header: Sequence[str], room: int) -> list[int]:
    """Take from the widest column until all fit, but leave each its name."""
    widths = list(widths)
    least = [max(len(name), 4) for name in header]
    while sum(widths) > room:
        column = max(range(len(widths)), key=lambda i: widths[i] - least[i])
        if widths[column] <= least[column]:
            break
        widths[column] -= 1
    return widths
