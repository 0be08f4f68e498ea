"""A table of the adapters on a model."""

from typing import TYPE_CHECKING

from inlay.compose.nodes import names_in
from inlay.compose.plan import combiners_in
from inlay.compose.simplify import simplify

if TYPE_CHECKING:
    from inlay.adapters.bank import Adapters


def summary_of(adapters: "Adapters") -> str:
    """Return one line for each adapter and one for the base, with sizes and states."""
    own = {id(p) for p in adapters.parameters()}
    total = sum(p.numel() for p in adapters.model.parameters() if id(p) not in own)
    rows = [("adapter", "method", "where", "weights", "share", "state")]
    keys = (node.key for node in combiners_in(simplify(adapters.active)))
    active = {*names_in(adapters.active), *keys}
    for name in adapters.names:
        entry = adapters.entry(name)
        where = "-"
        if entry.placement is not None:
            where = f"{entry.placement.at} ({len(entry.layers)} sites)"
        elif entry.combines is not None:
            where = f"{entry.combines} ({len(entry.combiners)} sites)"
        where += f" on {entry.stack_on}" if entry.stack_on is not None else ""
        state = [
            word
            for word, holds in (
                ("active", name in active),
                ("training", name in adapters.in_training),
            )
            if holds
        ]
        count = entry.num_adapter_parameters
        rows.append(
            (name, entry.method.name, where, f"{count:,}", f"{count / total:.2%}", " ".join(state))
        )
    rows.append(("(base)", type(adapters.model).__name__, "-", f"{total:,}", "100%", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
