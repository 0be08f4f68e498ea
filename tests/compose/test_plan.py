"""Which rows run through which program."""

import pytest

from inlay import Average, Fuse, Parallel, Route, Rows, Stack
from inlay.compose.plan import combiners_in, make_plan
from inlay.errors import CompositionError


def test_one_program_for_all():
    plan = make_plan(Stack("a", Average("b", "b")))
    assert plan.only == (Stack("a", "b"),)
    assert plan.groups(5) == {Stack("a", "b"): [0, 1, 2, 3, 4]}
    assert make_plan(None).only == (None,)


def test_parallel_moves_out():
    plan = make_plan(Stack("a", Parallel("b", None), "c"))
    assert plan.copies == ((Stack("a", "b", "c"),), (Stack("a", "c"),))
    assert plan.only == ()
    assert plan.groups(4) == {Stack("a", "b", "c"): [0, 1], Stack("a", "c"): [2, 3]}
    assert make_plan(Parallel("a", Parallel("b", "a"))).groups(3) == {"a": [0, 2], "b": [1]}
    assert make_plan(Average("a", Parallel("b", "a"))).copies == ((Average("a", "b"),), ("a",))


def test_rows_move_out():
    plan = make_plan(Stack(Rows("a", None), Rows("b", Average("c", "d")), "e"))
    assert plan.rows == 2
    assert plan.copies == ((Stack("a", "b", "e"), Stack(Average("c", "d"), "e")),)
    assert make_plan(Rows("a", None, "a")).groups(6) == {"a": [0, 1, 4, 5], None: [2, 3]}


def test_rows_in_parallel():
    plan = make_plan(Parallel(Rows("a", None), "b"))
    assert plan.groups(4) == {"a": [0], None: [1], "b": [2, 3]}
    assert plan.groups(8) == {"a": [0, 1], None: [2, 3], "b": [4, 5, 6, 7]}
    assert set(plan.programs) == {"a", "b", None}


@pytest.mark.parametrize(
    ("composition", "message"),
    [
        (Rows("a", Parallel("b", "c")), "a Parallel inside Rows would give some rows more"),
        (Rows("a", Stack("b", Rows("c"))), "Rows inside Rows"),
        (Stack(Parallel("a", "b"), Parallel("c", "d")), "two Parallel side by side"),
        (Fuse("a", Parallel("b", "c")), "Parallel inside Fuse, whose weights are learned"),
        (Route("a", Rows("b", "c")), "Rows inside Route, whose weights are learned"),
        (Stack(Rows("a", "b"), Rows("c")), "one Rows is for 1 rows and another for 2"),
        (Parallel(Rows("a", "b"), Rows("c")), "one Rows is for 1 rows and another for 2"),
    ],
)
def test_what_has_no_clear_meaning(composition, message):
    with pytest.raises(CompositionError, match=message):
        make_plan(composition)


def test_a_batch_that_cannot_be_shared_out():
    with pytest.raises(CompositionError, match="for 3 rows at a time, but the first dimension is"):
        make_plan(Rows("a", "b", "a")).groups(4)


def test_combiners_inner_ones_included():
    inner = Fuse("a", "b")
    outer = Route(inner, "c")
    assert combiners_in(Stack("x", outer)) == (outer, inner)
    assert combiners_in("a") == ()
