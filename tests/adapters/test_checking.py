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


def test_a_prompt_is_not_mixed():
    adapters = with_ends()
    longer = "'prompt' is of method 'prompt', which cannot be in {}, because with its vectors a"
    for composition in (
        Average("prompt", None),
        Rows(Stack("lora", Average("prompt", "lora")), None),
    ):
        with pytest.raises(CompositionError, match=longer.format("Average")):
            adapters.use(composition)
    for learned in (Fuse("prompt", "lora"), Route("lora", Stack("prompt", "side"))):
        with pytest.raises(CompositionError, match=longer.format(type(learned).__name__)):
            adapters.add_combiner(learned)
    adapters.use(Stack("prompt", Average("lora", None)))
    adapters.use(Parallel(Stack("lora", "prompt"), Rows("prompt", "side", None)))


def test_no_learned_weights_are_over_a_prefix():
    adapters = with_ends()
    adapters.add("union", "prefix | lora")
    for name in ("prefix", "union"):
        for learned in (Fuse(name, "lora"), Route("lora", Average(name, "side"))):
            word = type(learned).__name__
            message = f"cannot be in {word}, because they weigh what .* the attention's softmax"
            with pytest.raises(CompositionError, match=message):
                adapters.add_combiner(learned)
    adapters.use(Average("prefix", Stack("union", "lora"), None))


def test_words_stand_at_one_place():
    adapters = with_ends()
    for name, length in (("three", 3), ("also three", 3), ("five", 5)):
        method = inlay.Prefix(length=length, inner_width=None, takes_positions=True)
        adapters.add(name, method)
    with pytest.raises(CompositionError, match="would stand 3 and 5 positions further back"):
        adapters.use(Average("three", "five"))
    with pytest.raises(CompositionError, match="would stand 0 and 3 positions further back"):
        adapters.use(Rows(Stack("lora", Average("three", "prefix")), None))
    adapters.use(Average("three", Stack("lora", "also three")))
    adapters.use(Rows("three", "five", None))


def test_what_is_returned_has_one_length():
    adapters = with_ends()
    for name, length in (("two", 2), ("also two", 2), ("four", 4)):
        adapters.add(name, inlay.Prompt(length=length, returned=True))
    adapters.add("cut", inlay.Prompt(length=2))
    for composition, lengths in (
        (Rows("two", None), "0, 2"),
        (Parallel("two", "four"), "2, 4"),
        (Rows("two", "cut"), "2"),
    ):
        with pytest.raises(CompositionError, match=f"here rows have {lengths} of them"):
            adapters.use(composition)
    adapters.use(Rows("two", "also two", Stack("lora", "two")))
    assert tiny.hidden(adapters.model, tiny.batch(3, 6)).shape[1] == 8


def test_what_reads_the_words_beside_a_prompt():
    adapters = with_ends()
    for composition in (Stack("prompt", "side"), Stack("side", "lora", "prompt")):
        with pytest.raises(CompositionError, match="add 'side' with at='block, output'"):
            adapters.use(composition)
    adapters.use(Rows("prompt", "side"))
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
