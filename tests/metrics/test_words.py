"""Units of texts in many scripts."""

import pytest

from inlay.metrics.words import (
    alphanumeric,
    is_han,
    is_kana,
    is_unspaced,
    split,
    without_punctuation,
)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", []),
        (" a  bc\n", ["a", "bc"]),
        ("在2010年 GPU上", ["在", "2010", "年", "GPU", "上"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("서울 타워", ["서울", "타워"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("\U00020000x", ["\U00020000", "x"]),
    ],
)
def test_split(text, units):
    assert split(text) == units


def test_punctuation_of_all_scripts_goes():
    assert without_punctuation("a-b, «c»。「d」 $5+2 ¿e? 5€") == "ab cd 52 e 5€"


def test_alphanumeric_words():
    assert alphanumeric("Don't STOP_now: 3.5%") == ["don", "t", "stop", "now", "3", "5"]
    # Vowel signs are no letters, but part of the word.
    assert alphanumeric("हिन्दी।") == ["हिन्दी"]
    assert alphanumeric("Été,在北京!") == ["été", "在", "北", "京"]


def test_scripts():
    assert [is_han(char) for char in "京々aタ서"] == [True, True, False, False, False]
    assert [is_kana(char) for char in "タの京a"] == [True, True, False, False]
    assert [is_unspaced(char) for char in "ไ京のa서я"] == [True] * 3 + [False] * 3
    assert is_han("abc 京") and is_kana("abc の") and not is_unspaced("abc")
