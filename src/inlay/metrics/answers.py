"""Answers to questions against the known ones, as SQuAD scores them (Rajpurkar et al. 2018)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SIGNS = str.maketrans("", "", string.punctuation)
_NO_SPACES = re.compile("([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f])")


def normalise(answer: str) -> str:
    """Return an answer in lower case, without punctuation, articles and spare white space."""
    text = answer.lower().translate(_SIGNS)
    return " ".join(_ARTICLES.sub(" ", text).split())


def words_of(answer: str) -> list[str]:
    """Split a normalised answer into words; signs of scripts without spaces count as words."""
    return _NO_SPACES.sub(r" \1 ", normalise(answer)).split()


def exact_match(known: Sequence[str], given: str) -> float:
    """Return 1 if an answer is one of the known ones, else 0; none known wants an empty one."""
    return float(any(normalise(given) == normalise(answer) for answer in known or ("",)))


def answer_f1(known: Sequence[str], given: str) -> float:
    """Return the best F1 of the words of an answer with one of the known ones.

    Where nothing is to be answered, an empty answer has 1 and any other 0.
    """
    return max(_f1(words_of(answer), words_of(given)) for answer in known or ("",))


def _f1(known: Sequence[str], given: Sequence[str]) -> float:
    if not known or not given:
        return float(not known and not given)
    shared = sum((Counter(known) & Counter(given)).values())
    return 2 * shared / (len(known) + len(given))


def answer_scores(known: Sequence[Sequence[str]], given: Sequence[str]) -> dict[str, float]:
    """Return exact match, F1, the F1 of answerable questions, and that of telling the others.

    Args:
        known: The known answers of each question; none where the text has no answer.
        given: One answer for each question, empty for none.

    Returns:
        `exact_match`, `f1`; if there are both kinds of question also `answerable_f1` and
        `no_answer_f1`, the F1 of the decision that there is no answer.
    """
    if not given:
        return {"exact_match": 0.0, "f1": 0.0}
    f1 = [answer_f1(own, answer) for own, answer in zip(known, given, strict=True)]
    exact = [exact_match(own, answer) for own, answer in zip(known, given, strict=True)]
    scores = {"exact_match": sum(exact) / len(exact), "f1": sum(f1) / len(f1)}
    has = [value for own, value in zip(known, f1, strict=True) if own]
    if has and len(has) < len(f1):
        hits = sum(not own and not words_of(a) for own, a in zip(known, given, strict=True))
        said = sum(not words_of(answer) for answer in given)
        scores["answerable_f1"] = sum(has) / len(has)
        scores["no_answer_f1"] = 2 * hits / (said + len(f1) - len(has))
    return scores
