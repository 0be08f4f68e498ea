"""A text and the text to be written for it: translation, summary, question, completion."""

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.data.forms.base import AbstractForm, Place, Role, sample, text_of
from inlay.data.rows import Example
from inlay.data.table import MISSING, Table


@final
class ToText(AbstractForm):
    """`source` and `target`, or `prompt` and `completion`.

    An `input` beside an instruction is added to it. `parts` holds `tests` where the row has them:
    code that checks an answer, after the code in `setup` where there is some.
    """

    name: ClassVar[str] = "to-text"
    roles: ClassVar[tuple[Role, ...]] = (
        Role("source", ("source", "prompt", "instruction", "article", "document", "src")),
        Role("input", ("input",), is_needed=False),
        Role(
            "target",
            ("target", "completion", "output", "summary", "highlights", "response", "tgt"),
            is_target=True,
        ),
        Role("tests", ("tests", "testlist"), is_needed=False, is_target=True),
        Role("setup", ("setup", "testsetupcode"), is_needed=False, is_target=True),
    )

    @override
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        targets = sample(table, columns["target"])
        if not targets or not all(isinstance(value, str) for value in targets):
            return False
        # Few different short targets are classes.
        is_long = statistics.median(len(value.split()) for value in targets) > 3
        return is_long or len(set(targets)) > len(targets) / 2

    @override
    def example(
        self, cells: Mapping[str, Any], place: Place, counts: Counter[str], *, has_target: bool
    ) -> Example | str:
        source, fault = text_of(cells.get("source", MISSING), "source")
        if fault:
            return fault
        more = cells.get("input", MISSING)
        if isinstance(more, str) and more.strip():
            source = f"{source}\n\n{more}"
        target = ""
        if has_target:
            target, fault = text_of(cells.get("target", MISSING), "target")
            if fault:
                return fault
        tests = cells.get("tests", MISSING)
        parts: dict[str, Any] | None = {"tests": tests} if isinstance(tests, list) else None
        setup = cells.get("setup", MISSING)
        if parts is not None and isinstance(setup, str) and setup.strip():
            parts["setup"] = setup
        return Example(source, None, target, place.file, place.line, parts)

    @override
    def asked(self, row: Example) -> dict[str, Any]:
        return {"source": row.text}
