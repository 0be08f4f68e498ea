"""Repeat a batch by hand, for code that does not go through the model's own call."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from inlay.compose.nodes import Composition
from inlay.compose.plan import make_plan
from inlay.compose.rows import Rows
from inlay.errors import CompositionError
from inlay.sites.batch import repeat_batch


def repeat(composition: Composition, batch: Mapping[str, Any]) -> tuple[Rows, dict[str, Any]]:
    """Return what a `Parallel` does to a batch: the repeated batch, and a `Rows` to run it with.

    `generate` grows its inputs between calls of the model, so the batch must be repeated before:

        rows, batch = inlay.repeat(Parallel("a", "b"), batch)
        with model.adapters.using(rows):
            model.generate(**batch)

    Args:
        composition: Any composition.
        batch: Arguments of the model, one entry for each row.

    Raises:
        CompositionError: If it has no clear meaning, or no argument is a tensor.
    """
    plan = make_plan(composition)
    rows = next((len(v) for v in batch.values() if isinstance(v, Tensor) and v.ndim), None)
    if rows is None or (plan.rows is not None and plan.rows != rows):
        raise CompositionError(
            f"repeat({composition!r}): the batch has {rows or 'no'} rows; give tensors of "
            f"{plan.rows or 'equally many'} rows."
        )
    _, repeated = repeat_batch((), batch, rows=rows, copies=len(plan.copies), grown=False)
    programs = [p for copy in plan.copies for p in (copy * rows if len(copy) == 1 else copy)]
    return Rows(*programs), repeated
