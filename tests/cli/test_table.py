from inlay.cli.table import shorten, table


def test_columns_are_as_wide_as_their_content():
    text = table(("name", "n"), [("a", "1"), ("longer", "23")], right=("n",))
    assert text.split("\n") == ["name     n", "a        1", "longer  23"]


def test_a_long_line_loses_the_widest_cells_only():
    text = table(("a", "b"), [("x" * 50, "short")], limit=30)
    header, row = text.split("\n")
    assert len(row) <= 30
    assert row.endswith("...  short")
    assert header.startswith("a")


def test_the_end_of_a_path_is_kept_if_asked():
    text = table(("path", "n"), [("encoder.layer.0.output", "1")], tail=("path",), limit=17)
    assert text.split("\n")[1] == "...er.0.output  1"


def test_without_a_limit_nothing_is_cut():
    assert "x" * 500 in table(("a",), [("x" * 500,)])


def test_line_breaks_in_a_cell_become_blanks():
    assert table(("a",), [("one\n two\tthree",)]).split("\n")[1] == "one two three"


def test_shorten():
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abc..."
    assert shorten("abcdefg", 2) == "ab"
