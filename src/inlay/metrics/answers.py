"""Scores of answers to questions: exact match and F1 of SQuAD 2.0 (Rajpurkar et al. 2018).

What two answers share is counted in units, which a function makes of a text:

- `english_units`, the normalisation of SQuAD: lower case, no punctuation, no articles, words.
- `neutral_units`, for all languages, as MLQA has it for Chinese (Lewis et al. 2020): lower case, no
  punctuation of any script, words, and characters where a script has no spaces (Chinese, Japanese,
  Thai and others). No articles are dropped, so that no language has to be known.

A text without any unit is no answer; a question whose known answers are all of this kind, or that
has none, has no answer.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from inlay.metrics.classification import LabelScore
from inlay.metrics.words import split, without_punctuation

Units = Callable[[str], list[str]]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def english_units(text: str) -> list[str]:
    """Return the words that SQuAD counts."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def neutral_units(text: str) -> list[str]:
    """Return words, and characters where a script has no spaces."""
    return split(without_punctuation(text.lower()))


def exact_match(known: Sequence[str], predicted: str, *, units: Units = english_units) -> float:
    """Return 1 if the answer has the units of any known one in their order, else 0.

    Args:
        known: All answers that are right; none if the question has no answer.
        predicted: The answer given; empty for none.
        units: What to count.
    """
    given = units(predicted)
    return float(any(given == right for right in _answers(known, units)))


def answer_f1(known: Sequence[str], predicted: str, *, units: Units = english_units) -> float:
    """Return the F1 of shared units with the known answer that shares most.

    If one side has no answer, this is 1 where the other has none either, and 0 otherwise.

    Args:
        known: All answers that are right; none if the question has no answer.
        predicted: The answer given; empty for none.
        units: What to count.
    """
    given = units(predicted)
    return max(_overlap(right, given) for right in _answers(known, units))


def answer_scores(
    gold_lists: Sequence[Sequence[str]],
    predicted: Sequence[str],
    *,
    units: Units = english_units,
) -> dict[str, float]:
    """Return the mean scores of all questions.

    Args:
        gold_lists: The answers that are right for each question; none if it has no answer.
        predicted: The answer given to each question; empty for none.
        units: What to count.

    Returns:
        `exact_match` and `f1` over all questions, `answerable_f1` over those with an answer,
        `no_answer_f1` of the decision that there is none, and `n`, the number of questions. All
        are 0 where there is nothing to count.

    Raises:
        ValueError: If the two do not pair up.
    """
    exact, f1, answerable = [], [], []
    right = chosen = support = 0
    for known, given in zip(gold_lists, predicted, strict=True):
        exact.append(exact_match(known, given, units=units))
        f1.append(answer_f1(known, given, units=units))
        has_none, gave_none = _answers(known, units) == [[]], not units(given)
        right += has_none and gave_none
        chosen += gave_none
        support += has_none
        if not has_none:
            answerable.append(f1[-1])
    return {
        "exact_match": _mean(exact),
        "f1": _mean(f1),
        "answerable_f1": _mean(answerable),
        "no_answer_f1": LabelScore.of(right=right, chosen=chosen, support=support).f1,
        "n": float(len(exact)),
    }


def _answers(known: Sequence[str], units: Units) -> list[list[str]]:
    """Return the units of each known answer; one empty list if there is none."""
    return [found for found in map(units, known) if found] or [[]]


def _overlap(known: list[str], given: list[str]) -> float:
    if not known or not given:
        return float(known == given)
    shared = (Counter(known) & Counter(given)).total()
    return 2 * shared / (len(known) + len(given))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
