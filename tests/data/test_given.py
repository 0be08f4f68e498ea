"""What a caller gives becomes rows, or is refused by its place."""

import pytest

from inlay.data.forms.base import Place
from inlay.data.given import given_examples
from inlay.errors import DataError


def test_a_conversation_that_has_its_answer_is_not_asked():
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    assert given_examples([turns[:1]], "chat")[0].text == "user: hello"
    with pytest.raises(DataError, match="input 0 would not be read as it was given: answer of"):
        given_examples([turns], "chat")


def test_messages_name_the_place_of_an_input():
    places = [Place("standard input", line) for line in (2, 5)]
    with pytest.raises(
        DataError, match="standard input line 5: source is empty. It is read as sou"
    ):
        given_examples(["fine", " "], "to-text", places)
    with pytest.raises(
        DataError, match="standard input line 5 is a pair and standard input line 2"
    ):
        given_examples(["a", ("a", "b")], "labelled", places)
    assert [row.line for row in given_examples(["a", "b"], "labelled", places)] == [2, 5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("  ", "input 0: text is empty; give a text or a pair of texts"),
        ("\udcff", "input 0: text has half of a surrogate pair; give a text"),
        (("a", ""), "input 0: second text is empty; give a text or"),
        (("a", 3), "input 0: second text is a number, not a text; give"),
        ({"pair": "b"}, "input 0: text is missing; give a text or"),
        ({"text": "a", "label": "b"}, "an input has a part 'label'; this task reads text, pair"),
        (("a", "b", "c"), "an input has 3 parts; this task reads text, pair"),
    ],
)
def test_texts_that_cannot_be_used_say_why(given, message):
    with pytest.raises(DataError, match=message):
        given_examples([given], "labelled")


def test_texts_and_pairs_by_order_or_by_role():
    rows = given_examples([("a", "b"), {"pair": "d", "text": "c"}], "labelled")
    assert [(row.text, row.pair, row.line) for row in rows] == [("a", "b", 0), ("c", "d", 1)]
