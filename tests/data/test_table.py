"""A table gives its columns by name."""

from inlay.data.table import Table


def test_column():
    table = Table(
        name="t", path="t", layout="csv", sha256="0", encoding="utf-8", separator=",",
        columns=["a", "b"], rows=[[1, 2], [3, 4]], lines=[2, 3], raw=str,
    )  # fmt: skip
    assert table.column("b") == [2, 4]
