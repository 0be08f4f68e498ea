"""Compositions from and to text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlay import Average, Fuse, Parallel, Route, Rows, Stack, parse_composition
from inlay.compose.nodes import text_of
from inlay.errors import CompositionError


def test_examples_by_hand():
    assert parse_composition("stack(en, ner)") == Stack("en", "ner")
    assert parse_composition(" average( a,b ; weights = 0.3 , 0.7 ) ") == Average(
        "a", "b", weights=(0.3, 0.7)
    )
    assert parse_composition('rows(a, none, "none", "a b")') == Rows("a", None, "none", "a b")
    assert parse_composition('fuse(a, b; name="my one")') == Fuse("a", "b", name="my one")
    assert parse_composition("none") is None
    assert parse_composition("stack") == "stack", "a word without children is a name"
    assert str(Stack("en", Average("a", "b c"))) == 'stack(en, average(a, "b c"))'


names = st.text(min_size=1, max_size=6)


def nodes(children):
    several = st.lists(children, min_size=1, max_size=3)
    pairs = st.lists(children, min_size=2, max_size=3, unique=True)
    whole = st.lists(st.integers(1, 9), min_size=2, max_size=2)
    return st.one_of(
        several.map(lambda c: Stack(*c)),
        several.map(lambda c: Rows(None, *c)),
        several.map(lambda c: Parallel(*c, None)),
        st.tuples(children, children, whole).map(
            lambda t: Average(t[0], t[1], weights=[w / sum(t[2]) for w in t[2]])
        ),
        st.tuples(pairs, names).map(lambda t: Fuse(*t[0], name=t[1])),
        pairs.map(lambda c: Route(*c)),
    )


@given(st.recursive(names, nodes, max_leaves=6))
def test_what_is_written_reads_back(composition):
    assert parse_composition(text_of(composition)) == composition


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at character 1: the text ends too early"),
        ("stack(a", "at character 8: '\\)' is missing"),
        ("stack(a,)", "at character 9: a name must stand before '\\)'"),
        ("stack(a) b", "at character 10: nothing may follow"),
        ("stak(a, b)", "at character 1: 'stak' is none of stack.* Did you mean 'stack'"),
        ("a b?", "at character 4: '\\?' cannot stand here"),
        ("stack(a; weights=1)", "stack has no setting 'weights', none"),
        ("average(a, b; weight=1)", "average has no setting 'weight', only 'weights'"),
        ("average(a, b; weights)", "'=' is missing"),
        ("average(a, b; weights=x,1)", "'x' is no number"),
        (r'"\x"', "is not quoted as in JSON"),
    ],
)
def test_mistakes_are_pointed_at(text, message):
    with pytest.raises(CompositionError, match=message):
        parse_composition(text)


def test_mistakes_in_the_values():
    with pytest.raises(CompositionError, match="they must sum to 1"):
        parse_composition("average(a, b; weights=0.3,0.3)")
