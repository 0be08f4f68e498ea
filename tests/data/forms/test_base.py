"""What all forms share: roles, texts, and a caller's inputs."""

from collections import Counter

import pytest

from inlay.data.forms.base import Place, is_broken_list, kind_of, parsed, sample, text_of
from inlay.data.forms.registry import FORMS, LABELLED, asked
from inlay.data.rows import Example
from inlay.data.table import MISSING
from inlay.errors import DataError


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (MISSING, "t is missing"), (None, "t is null"), (3, "t is a number, not a text"),
        ("  ", "t is empty"), ("a\ud800", "t has half of a surrogate pair"),
        (["a"], "t is a list, not a text"), (True, "t is true or false, not a text"),
    ],
)  # fmt: skip
def test_a_text_that_is_none_says_why(value, reason):
    assert text_of(value, "t")[1] == reason


def test_a_text_is_kept_as_it_is():
    assert text_of(" a b ", "t") == (" a b ", None)
    assert kind_of({}) == "an object"


@pytest.mark.parametrize("name", FORMS)
def test_roles_have_inputs_before_targets_and_columns_of_one_spelling(name):
    roles = FORMS[name].roles
    flags = [role.is_target for role in roles]
    inputs = [role for role in roles if not role.is_target]
    assert inputs, "something is asked"
    assert len({role.name for role in roles}) == len(roles) == len(flags)
    for role in roles:
        assert all(column == column.lower() and column.isalnum() for column in role.columns)
        assert role.name in role.columns, "what we print can be read again"


def test_inputs_are_given_by_order_or_by_role():
    form = FORMS["spans"]
    expected = {"question": "q", "context": "c"}
    assert form.cells_of(("q", "c")) == form.cells_of(expected) == expected
    assert form.cells_of("q") == {"question": "q"}
    with pytest.raises(DataError, match="an input has 3 parts; this task reads question, context"):
        form.cells_of(("a", "b", "c"))
    with pytest.raises(DataError, match="an input has a part 'answer'; this task reads question"):
        form.cells_of({"answer": "x"})


def test_a_sample_leaves_absent_values_out(tmp_path):
    from inlay.data.jsonlines import read_jsonlines
    from tests.data.forms.files import write_jsonl

    path = write_jsonl(tmp_path / "a.jsonl", [{"a": 1}, {"b": 2}, {"a": None}, {"a": 4}])
    assert sample(read_jsonlines(path, name="a"), "a") == [1, 4]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (' ["a", "b"] ', ["a", "b"]), ("['a', \"it's\", 'c\\'d']", ["a", "it's", "c'd"]),
        ('{"text": []}', {"text": []}), ("['a, b', '[c]']", ["a, b", "[c]"]), ("[]", []),
    ],
)  # fmt: skip
def test_lists_that_a_table_writes_as_text_are_read(text, value):
    assert parsed(text) == value


@pytest.mark.parametrize(
    "value", ["[sic] a text", "['a' 'b']", "['a', 'b'", "['\\d']", "[a, b]", "{x}", "a", 3, None]
)
def test_what_is_no_list_stays_as_it_is(value):
    assert parsed(value) is value
    assert is_broken_list(value) == (str(value)[:2] == "['")


def example_of(given, name):
    form = FORMS[name]
    return form.example(form.cells_of(given), Place("", 0), Counter(), has_target=False)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("spans", {"question": "Who?", "context": "It was Ada."}),
        ("choices", {"question": "Who?", "choices": ["Ada", "Bob"]}),
        ("chat", {"messages": [{"role": "user", "content": "Who?"}]}),
        ("to-text", {"source": "It was Ada."}),
        ("plain", {"text": "It was"}),
        ("scored", {"text": "a", "pair": "b"}),
        ("multi-labelled", {"text": "a"}),
    ],
)
def test_what_was_asked_can_be_asked_again(name, given):
    assert asked(example_of(given, name), name) == given


def test_a_raw_text_is_asked_as_it_was_and_tokens_with_blanks_between():
    assert asked(example_of("Fly,  please", "tagged"), "tagged") == {"text": "Fly,  please"}
    assert asked(example_of(["Fly", ","], "tagged"), "tagged") == {"text": "Fly ,"}


def test_texts_and_pairs_are_asked_as_such():
    assert asked(Example("a", None, "", "", 0), LABELLED) == {"text": "a"}
    assert asked(Example("a", "b", "", "", 0), LABELLED) == {"text": "a", "pair": "b"}
