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


def with_ends():
    model = tiny.decoder("llama")
    adapters = inlay.attach(model)
    for method in ("prefix", "prompt", "side", "invertible", "lora"):
        adapters.add(method, method)
    return adapters


@pytest.mark.parametrize("name", ["prefix", "prompt", "side"])
def test_what_cannot_run_on_some_rows_or_be_mixed(name):
    adapters = with_ends()
    message = f"'{name}' is of method '{name}', which cannot run for some rows"
    for composition in (
        Rows(name, "lora"),
        Parallel(Stack("lora", name), "lora"),
        Average(name, None),
        Stack("lora", Average(name, "lora")),
    ):
        with pytest.raises(CompositionError, match=message):
            adapters.use(composition)
    for learned in (Fuse(name, "lora"), Route("lora", name)):
        with pytest.raises(CompositionError, match=message):
            adapters.add_combiner(learned)
    adapters.use(Stack(name, Average("lora", None)))
    adapters.use(name)


def test_what_reads_the_words_beside_a_prompt():
    adapters = with_ends()
    for composition in (Stack("prompt", "side"), Stack("side", "lora", "prompt")):
        with pytest.raises(CompositionError, match="add 'side' with at='block, output'"):
            adapters.use(composition)
    adapters.add("blocks", "side", at="block, output")
    adapters.use(Stack("prompt", "blocks", "invertible"))
    tiny.hidden(adapters.model, tiny.batch())


def test_an_inverse_is_not_mixed():
    adapters = with_ends()
    adapters.add("in", "invertible", at="embedding")
    for composition in (Average("invertible", "lora"), Rows(Average("invertible", None), None)):
        with pytest.raises(CompositionError, match="undoes at the output what it did"):
            adapters.use(composition)
    with pytest.raises(CompositionError, match="undoes at the output .* Fuse would leave a part"):
        adapters.add_combiner(Fuse("invertible", "lora"))
    adapters.use(Average("in", "lora"))
    adapters.use(Rows("invertible", Stack("invertible", "lora")))


def test_blocks_are_not_left_out_of_what_is_merged():
    adapters = with_ends()
    adapters.merge("lora")
    with pytest.raises(CompositionError, match=r"skip_lowest=1: .* call unmerge\(\) first"):
        adapters.use("lora", skip_lowest=1)


def test_a_key_stands_for_its_combination(adapters):
    adapters.use(Stack("c", "mine"))
    assert adapters.active == Stack("c", Fuse("a", "b", name="mine"))
    assert resolved("mine", adapters.entry) == Fuse("a", "b", name="mine")
    assert resolved(None, adapters.entry) is None
