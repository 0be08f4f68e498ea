"""What cannot run is refused when it is activated, with the reason."""

import pytest

import inlay
from inlay import Average, Fuse, Parallel, Route, Rows, Stack
from inlay.adapters.checking import resolved
from inlay.errors import AdapterError, CompositionError
from tests.contracts import tiny


@pytest.fixture
def adapters():
    adapters = inlay.attach(tiny.encoder())
    for name in ("a", "b", "c"):
        adapters.add(name, "lora")
    adapters.add("full", "full")
    adapters.add_combiner(Fuse("a", "b", name="mine"))
    return adapters


@pytest.mark.parametrize(
    ("composition", "message"),
    [
        (Rows("full", None), "'full' exchanges the base's own weights and can only be used alone"),
        (Parallel("full", "a"), "can only be used alone"),
        (Average("full", None), "can only be used alone"),
        (Fuse("a", "c"), r"no learned weights on this model; call adapters.add_combiner\(Fuse"),
        (Stack("a", Route("a", "b")), r"Route\('a', 'b'\) has no learned weights"),
        (Fuse("a", "c", name="mine"), r"the learned weights 'mine' are over Fuse\('a', 'b'"),
        (Rows("a", Parallel("b", "c")), "a Parallel inside Rows"),
        (["a"], r"\['a'\] is no composition"),
    ],
)
def test_refused_with_the_reason(adapters, composition, message):
    adapters.use("b")
    with pytest.raises(CompositionError, match=message):
        adapters.use(composition)
    with pytest.raises(CompositionError, match=message), adapters.using(composition):
        raise AssertionError
    assert adapters.active == "b"


def test_unknown_names_at_any_depth(adapters):
    with pytest.raises(AdapterError, match="no adapter 'd' on this model"):
        adapters.use(Rows("a", Stack("b", Average("c", "d"))))


def test_a_comparator_alone_in_any_spelling(adapters):
    adapters.use(Stack(Average("full", "full")))
    assert adapters.model.get_parameter("pooler.dense.bias") is not None


def test_while_an_adapter_is_merged():
    adapters = inlay.attach(tiny.encoder())
    adapters.add("a", "lora")
    adapters.add("b", "lora")
    adapters.merge("a")
    for composition in (Rows("a", None), Parallel("a", "a"), Stack("a", "b")):
        with pytest.raises(CompositionError, match="while 'a' is merged into the base"):
            adapters.use(composition)
    adapters.use(Stack("a"))


def test_a_key_stands_for_its_combination(adapters):
    adapters.use(Stack("c", "mine"))
    assert adapters.active == Stack("c", Fuse("a", "b", name="mine"))
    assert resolved("mine", adapters.entry) == Fuse("a", "b", name="mine")
    assert resolved(None, adapters.entry) is None
