"""Schemes of data sets: mixtures are refused, repairs are counted and named."""

import pytest

from inlay.data.rows import Example
from inlay.errors import DataError
from inlay.tasks.tag_schemes import describe_repairs, find_scheme


def rows(*tags, file="t.conll"):
    made = []
    for number, own in enumerate(tags):
        parts = {"tokens": ["w"] * len(own.split()), "tags": own.split()}
        made.append(Example("w", None, "", file, number + 1, parts))
    return made


def test_a_few_tags_without_a_mark_are_a_mistake():
    with pytest.raises(DataError, match=r"'city' \(1 words, first t\.conll line 2\)"):
        find_scheme(rows("B-city I-city O", "O city", "B-song B-city"))


def test_letters_of_no_scheme_are_a_mistake():
    with pytest.raises(DataError, match="'M-x'"):
        find_scheme(rows("B-x M-x E-x", "S-x O S-x", "B-x E-x"))
    with pytest.raises(DataError, match="of no scheme"):
        find_scheme(rows("B-x L-x", "S-x E-x", "U-x"))


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["B-x I-x O", "B-y"], "iob2"),
        (["I-x I-x B-x", "O"], "iob1"),
        (["B-x E-x", "S-y"], "bioes"),
        (["B-x L-x", "U-y"], "bilou"),
        (["DET NOUN", "X O"], "plain"),
        (["NOUN B-x", "DET"], "plain"),
    ],
)
def test_the_scheme_is_found(tags, scheme):
    assert find_scheme(rows(*tags)) == scheme


def test_repairs_are_counted_over_all_splits_and_the_first_is_named():
    splits = {
        "train": rows("B-x I-x O I-x", "O O I-y"),
        "test": rows("I-x I-x", file="u.conll"),
    }
    assert describe_repairs(splits, "iob2") == [
        "3 tags of 9 repaired to valid IOB2 (BIO) (first t.conll line 1: I-x read as B-x)."
    ]
    assert describe_repairs({"train": rows("I-x O B-x")}, "bilou") == [
        "tags are BILOU: learnt and answered as IOB2.",
        "2 tags of 3 repaired to valid BILOU (first t.conll line 1: I-x read as U-x).",
    ]
    assert describe_repairs({"train": rows("B-x O")}, "iob2") == []
    assert describe_repairs({"train": rows("NOUN")}, "plain") == []


def test_a_tag_of_another_scheme_in_test_is_named_with_its_line():
    splits = {"train": rows("B-x I-x"), "test": rows("O", "O S-x", file="u.conll")}
    with pytest.raises(DataError, match=r"u\.conll line 2: tag 'S-x' of token 1 is not of"):
        describe_repairs(splits, "iob2")
