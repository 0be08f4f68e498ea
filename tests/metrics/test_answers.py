"""Answers against the rules of the SQuAD 2.0 and MLQA scorers, written out again."""

import re
import string
import unicodedata
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import f1_score

from inlay.metrics.answers import (
    answer_f1,
    answer_scores,
    english_units,
    exact_match,
    neutral_units,
)

WORDS = ["The", "the", "a", "an", "cat", "Cat,", "sat.", "mat", "ON", "1,000", "theory", "--", "é"]


def squad_normal(text: str) -> str:
    """Lower case, then punctuation, then articles, then spaces, in the published order."""
    text = "".join(char for char in text.lower() if char not in set(string.punctuation))
    text = re.compile(r"\b(a|an|the)\b", re.UNICODE).sub(" ", text)
    return " ".join(text.split())


def squad_scores(golds: list[str], given: str) -> tuple[int, float]:
    golds = [gold for gold in golds if squad_normal(gold)] or [""]
    exact = max(int(squad_normal(gold) == squad_normal(given)) for gold in golds)
    best = 0.0
    for gold in golds:
        theirs, ours = squad_normal(gold).split(), squad_normal(given).split()
        same = sum((Counter(theirs) & Counter(ours)).values())
        if not theirs or not ours:
            f1 = float(theirs == ours)
        elif same == 0:
            f1 = 0.0
        else:
            precision, recall = same / len(ours), same / len(theirs)
            f1 = 2 * precision * recall / (precision + recall)
        best = max(best, f1)
    return exact, best


def mlqa_chinese_units(text: str) -> list[str]:
    """Drop punctuation, then cut Han characters out of what stands between spaces."""
    marks = set(string.punctuation) | {
        chr(code) for code in range(0x10000) if unicodedata.category(chr(code)).startswith("P")
    }
    text = " ".join("".join(char for char in text.lower() if char not in marks).split())
    units, held = [], ""
    for char in text:
        if re.search(r"[\u4e00-\u9fa5]", char):
            units += [*held.split(), char]
            held = ""
        else:
            held += char
    return units + held.split()


def questions(seed: int, rows: int = 60) -> tuple[list[list[str]], list[str]]:
    generator = np.random.default_rng(seed)

    def phrase(longest: int) -> str:
        return " ".join(generator.choice(WORDS, generator.integers(0, longest)).tolist())

    golds, given = [], []
    for _ in range(rows):
        golds.append([phrase(6) for _ in range(generator.integers(0, 4))])
        guess = golds[-1][0] if golds[-1] and generator.random() < 0.3 else phrase(5)
        given.append("" if generator.random() < 0.25 else guess)
    return golds, given


@pytest.mark.parametrize("seed", range(15))
def test_scores_equal_the_rules_of_squad(seed):
    golds, given = questions(seed)
    rows = [squad_scores(gold, answer) for gold, answer in zip(golds, given, strict=True)]
    for gold, answer, (exact, f1) in zip(golds, given, rows, strict=True):
        assert exact_match(gold, answer) == exact
        assert answer_f1(gold, answer) == pytest.approx(f1, abs=1e-12)
    has_none = [not any(squad_normal(text) for text in gold) for gold in golds]
    gave_none = [not squad_normal(answer) for answer in given]
    answerable = [f1 for (_, f1), none in zip(rows, has_none, strict=True) if not none]
    assert answer_scores(golds, given) == pytest.approx(
        {
            "exact_match": np.mean([exact for exact, _ in rows]),
            "f1": np.mean([f1 for _, f1 in rows]),
            "answerable_f1": np.mean(answerable),
            "no_answer_f1": f1_score(has_none, gave_none),
            "n": len(golds),
        },
        abs=1e-12,
    )


def test_english_units_by_hand():
    assert english_units("The  U.S.A. and a theory, an' all") == ["usa", "and", "theory", "all"]
    assert exact_match(["Saint Bernadette"], "the saint bernadette!") == 1
    # "a copper statue" and "copper statue of Christ" share 2 of 2 and 2 of 4 words.
    assert answer_f1(["a copper statue"], "copper statue of Christ") == pytest.approx(2 / 3)
    assert answer_f1(["gold", "copper statue"], "copper statue") == 1


def test_no_answer():
    assert exact_match([], "") == answer_f1([], "") == exact_match([""], "the") == 1
    assert exact_match([], "cat") == answer_f1(["", "the"], "cat") == answer_f1(["cat"], "") == 0
    scores = answer_scores([[], [], ["cat"]], ["", "cat", ""])
    # The decision for no answer is right once, taken twice and due twice.
    assert scores["no_answer_f1"] == pytest.approx(0.5)
    assert scores["answerable_f1"] == 0
    assert answer_scores([], []) == {
        "exact_match": 0, "f1": 0, "answerable_f1": 0, "no_answer_f1": 0, "n": 0
    }  # fmt: skip
    assert answer_scores([[]], [""])["no_answer_f1"] == 1
    assert answer_scores([["cat"]], ["cat"])["no_answer_f1"] == 0


@pytest.mark.parametrize(
    "text", ["在2010年,GPU上", "「北京」大学 (PKU)", "abc", "", "a 的 b。", "The 5-a"]
)
def test_neutral_units_are_those_of_mlqa_for_chinese(text):
    assert neutral_units(text) == mlqa_chinese_units(text)


def test_neutral_units_share_characters_where_there_are_no_spaces():
    assert answer_f1(["北京大学"], "北京", units=neutral_units) == pytest.approx(2 / 3)
    assert exact_match(["北京大学"], "「北京 大学」", units=neutral_units) == 1
    assert answer_f1(["北京大学"], "北京") == 0
    # No language's articles are dropped.
    assert exact_match(["der Hund"], "Hund", units=neutral_units) == 0
    scores = answer_scores([["東京"], []], ["東京都", "。"], units=neutral_units)
    assert scores["f1"] == pytest.approx((0.8 + 1) / 2)


def test_rows_must_pair_up():
    with pytest.raises(ValueError, match="shorter than argument 1"):
        answer_scores([["a"], ["b"]], ["a"])
