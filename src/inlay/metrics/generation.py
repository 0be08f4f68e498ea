"""Written texts against the known ones: ROUGE, exact match, and BLEU and chrF by sacrebleu."""

import re
from collections import Counter
from collections.abc import Sequence

from inlay.optional import require

_WORD = re.compile(r"[^\W_]+")
_NO_SPACES = re.compile("([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f])")
_HAN = re.compile("[\u3400-\u9fff]")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")


def words_of(text: str) -> list[str]:
    """Split a text into words in lower case; signs of scripts without spaces count as words."""
    return _WORD.findall(_NO_SPACES.sub(r" \1 ", text.lower()))


def rouge_n(known: str, given: str, n: int) -> float:
    """Return the F1 of n-grams of words (Lin 2004); nothing is stemmed."""
    first, second = _grams(words_of(known), n), _grams(words_of(given), n)
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


def rouge_l(known: str, given: str) -> float:
    """Return the F1 of the longest common subsequence of words (Lin 2004), of whole texts."""
    first, second = words_of(known), words_of(given)
    if not first or not second:
        return 0.0
    row = [0] * (len(second) + 1)
    for word in first:
        above_left = 0
        for column, other in enumerate(second, start=1):
            above = row[column]
            row[column] = above_left + 1 if word == other else max(above, row[column - 1])
            above_left = above
    return 2 * row[-1] / (len(first) + len(second))


def text_scores(known: Sequence[str], given: Sequence[str]) -> dict[str, float]:
    """Return BLEU, chrF, ROUGE-1, ROUGE-2, ROUGE-L and exact match, all in [0, 1].

    BLEU and chrF are those of the whole corpus; BLEU splits Chinese by characters.

    Args:
        known: One known text for each row.
        given: What was written.

    Raises:
        MissingExtraError: If sacrebleu is not installed.
    """
    if not given:
        return {}
    sacrebleu = require("sacrebleu", extra="text", purpose="BLEU and chrF")
    tokenize = "zh" if sum(bool(_HAN.search(text)) for text in known) > len(known) / 2 else "13a"
    pairs = list(zip(known, given, strict=True))
    return {
        "bleu": sacrebleu.corpus_bleu(list(given), [list(known)], tokenize=tokenize).score / 100,
        "chrf": sacrebleu.corpus_chrf(list(given), [list(known)]).score / 100,
        "rouge_1": _mean([rouge_n(*pair, 1) for pair in pairs]),
        "rouge_2": _mean([rouge_n(*pair, 2) for pair in pairs]),
        "rouge_l": _mean([rouge_l(*pair) for pair in pairs]),
        "exact_match": _mean([float(one.split() == other.split()) for one, other in pairs]),
    }


def lead(text: str, num_sentences: int = 1) -> str:
    """Return the first sentences of a text, the baseline of every summary.

    Example:
        >>> lead("It rains. It pours. The old man snores.", 2)
        'It rains. It pours.'
    """
    parts = [part for part in _SENTENCE.split(text.strip()) if part.strip()]
    return " ".join(parts[:num_sentences])


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
