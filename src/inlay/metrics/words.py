"""The units that scores of text count: words, or characters where a script has no spaces."""

import re
import string
import unicodedata

# Scripts that put no space between words: Thai and Lao, Tibetan, Myanmar, Khmer, kana, Han.
# Hangul does, so it is not among them.
_KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = re.compile(
    f"[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\uaa60-\uaa7f{_KANA}{_HAN}]"
)
_IS_KANA, _IS_HAN = re.compile(f"[{_KANA}]"), re.compile(f"[{_HAN}]")


def split(text: str) -> list[str]:
    """Split at spaces, and make every character of a script without spaces a unit of its own."""
    return _UNSPACED.sub(lambda match: f" {match[0]} ", text).split()


def without_punctuation(text: str) -> str:
    """Drop the punctuation of all scripts, and the symbols of ASCII that count as such."""
    return "".join(
        char
        for char in text
        if char not in string.punctuation and not unicodedata.category(char).startswith("P")
    )


def alphanumeric(text: str) -> list[str]:
    """Split lower-cased text into runs of letters, marks and digits; see `split` for the rest."""
    kept = [char if unicodedata.category(char)[0] in "LMN" else " " for char in text.lower()]
    return split("".join(kept))


def is_han(text: str) -> bool:
    """Whether a character, or any of a text, is Chinese or a Japanese kanji."""
    return _IS_HAN.search(text) is not None


def is_kana(text: str) -> bool:
    """Whether a character, or any of a text, is one that only Japanese has."""
    return _IS_KANA.search(text) is not None


def is_unspaced(text: str) -> bool:
    """Whether a character, or any of a text, is of a script without spaces."""
    return _UNSPACED.search(text) is not None
