"""Texts with a number."""

from collections import Counter

import pytest

from inlay.data.forms.base import Place
from inlay.data.forms.scored import Scored
from inlay.data.sources import read_dataset


def read(score, *, has_target=True, **more):
    cells = {"text": "words", "score": score, **more}
    return Scored().example(cells, Place("f", 1), Counter(), has_target=has_target)


@pytest.mark.parametrize(("score", "value"), [(3, 3.0), ("2.5", 2.5), ("1e-3", 0.001)])
def test_numbers_in_any_spelling(score, value):
    assert read(score).parts == {"score": value}
    assert read(score, pair="more").pair == "more"


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        ("high", "score is 'high', not a finite number"), ("", "score is missing"),
        (None, "score is missing"), (float("nan"), "score is a number, not a finite number"),
        ("inf", "score is 'inf', not"), (True, "score is true or false"), ([1], "score is a list"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(score, reason):
    assert read(score).startswith(reason)


def test_a_prediction_needs_no_number():
    assert read(None, has_target=False).parts == {}


def test_few_whole_numbers_are_classes_and_many_fractions_a_quantity(tmp_path):
    for name, value in (("stars", lambda n: n % 5), ("score", lambda n: n / 13)):
        path = tmp_path / f"{name}.csv"
        path.write_text(f"review,{name}\n" + "".join(f"fine {n},{value(n)}\n" for n in range(80)))
    assert read_dataset(tmp_path / "stars.csv").form == "labelled"
    assert read_dataset(tmp_path / "score.csv").form == "scored"
