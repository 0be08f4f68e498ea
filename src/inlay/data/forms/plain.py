"""Running text, in passages."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.data.forms.base import AbstractForm, Place, Role, text_of
from inlay.data.rows import Example
from inlay.data.table import MISSING, Table

_LINES = 500
"""Lines that stay in one split, so that a test passage hardly follows on a train passage."""


@final
class Plain(AbstractForm):
    """`text` and nothing else."""

    name: ClassVar[str] = "plain"
    roles: ClassVar[tuple[Role, ...]] = (Role("text", ("text", "content", "document", "sentence")),)

    @override
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        return table.layout == "txt"

    @override
    def example(
        self, cells: Mapping[str, Any], place: Place, counts: Counter[str], *, has_target: bool
    ) -> Example | str:
        text, fault = text_of(cells.get("text", MISSING), "text")
        return fault or Example(text, None, "", place.file, place.line)

    @override
    def group(self, row: Example) -> str:
        return f"{row.file}:{row.line // _LINES}"
