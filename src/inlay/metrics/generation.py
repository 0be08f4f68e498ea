"""Scores of generated text against one known text for each row, and baselines that learn nothing.

All scores are in [0, 1], BLEU and chrF too; sacreBLEU itself prints 100 times them.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Literal

from inlay.metrics.words import alphanumeric, is_han, is_kana, is_unspaced
from inlay.optional import require

Tokenizer = Literal["13a", "zh", "char"]

# Closing quotes and brackets; full stops that no space follows: of Chinese, Japanese and Hindi.
_CLOSING = "\"')\\]\u2019\u201d\u300d\u300f\uff09"
_FULL_STOPS = "\u3002\uff01\uff1f\u0964"
_SENTENCE_END = re.compile(
    rf"(?<=[.!?\u2026])[{_CLOSING}]*\s+"
    rf"|(?<=[{_FULL_STOPS}])(?![{_FULL_STOPS}{_CLOSING}])\s*"
    r"|\s*\n\s*\n\s*"
)


def exact_match(known: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of rows that are equal but for white space; 0 for no rows."""
    same = [k.split() == p.split() for k, p in zip(known, predicted, strict=True)]
    return sum(same) / len(same) if same else 0.0


def bleu_tokenizer(known: Sequence[str]) -> Tokenizer:
    """Choose sacreBLEU's tokenizer by the script of most letters.

    `zh` for Chinese, `char` for other scripts without spaces (Japanese, Thai), `13a` for the rest.
    Japanese is told from Chinese by kana, of which it has more than one in ten such characters.
    """
    letters = [char for text in known for char in text if char.isalpha()]
    unspaced = [char for char in letters if is_unspaced(char)]
    if 2 * len(unspaced) <= len(letters):
        return "13a"
    if 2 * sum(map(is_han, unspaced)) <= len(unspaced):
        return "char"
    return "char" if 10 * sum(map(is_kana, unspaced)) > len(unspaced) else "zh"


def bleu(
    known: Sequence[str], predicted: Sequence[str], *, tokenizer: Tokenizer | None = None
) -> float:
    """Return BLEU of the corpus (Papineni et al. 2002) as sacreBLEU counts it; 0 for no rows.

    Args:
        known: The right text of each row.
        predicted: The same rows as predicted.
        tokenizer: How sacreBLEU splits text; by default `bleu_tokenizer` of the known texts.

    Raises:
        MissingExtraError: If sacreBLEU is not installed.
        ValueError: If the rows do not pair up.
    """
    _check_pairs(known, predicted)
    sacrebleu = _sacrebleu("BLEU")
    if not known:
        return 0.0
    # Without `force`, text that looks tokenized is warned about.
    score = sacrebleu.corpus_bleu(
        list(predicted), [list(known)], tokenize=tokenizer or bleu_tokenizer(known), force=True
    )
    return float(score.score) / 100


def chrf(known: Sequence[str], predicted: Sequence[str]) -> float:
    """Return chrF2 of the corpus (Popović 2015) as sacreBLEU counts it; 0 for no rows.

    Raises:
        MissingExtraError: If sacreBLEU is not installed.
        ValueError: If the rows do not pair up.
    """
    _check_pairs(known, predicted)
    sacrebleu = _sacrebleu("chrF")
    if not known:
        return 0.0
    return float(sacrebleu.corpus_chrf(list(predicted), [list(known)]).score) / 100


def chrf_row(known: str, predicted: str) -> float:
    """Return chrF2 of one row.

    Raises:
        MissingExtraError: If sacreBLEU is not installed.
    """
    return float(_sacrebleu("chrF").sentence_chrf(predicted, [known]).score) / 100


def rouge_n(known: str, predicted: str, n: int) -> float:
    """Return the F1 of shared runs of `n` words (ROUGE-N, Lin 2004).

    Words are runs of letters and digits in lower case, and characters where a script has no
    spaces. They are not stemmed, so scores are below those of programs that do.
    """
    theirs, ours = _runs(alphanumeric(known), n), _runs(alphanumeric(predicted), n)
    return _f1((theirs & ours).total(), theirs.total(), ours.total())


def rouge_l(known: str, predicted: str) -> float:
    """Return the F1 of the longest common subsequence of words (ROUGE-L, Lin 2004).

    The text is taken as one sequence, whatever its sentences; for its words see `rouge_n`.
    """
    theirs, ours = alphanumeric(known), alphanumeric(predicted)
    return _f1(_common_subsequence(theirs, ours), len(theirs), len(ours))


def rouge(known: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return the means of `rouge_1`, `rouge_2` and `rouge_l` over the rows; 0 for no rows.

    Raises:
        ValueError: If the rows do not pair up.
    """
    ways: dict[str, Callable[[str, str], float]] = {
        "rouge_1": lambda k, p: rouge_n(k, p, 1),
        "rouge_2": lambda k, p: rouge_n(k, p, 2),
        "rouge_l": rouge_l,
    }
    count = max(len(known), 1)
    return {name: sum(row_scores(known, predicted, way)) / count for name, way in ways.items()}


def row_scores(
    known: Sequence[str],
    predicted: Sequence[str],
    metric: Callable[[str, str], float] = rouge_l,
) -> list[float]:
    """Return one score for each row, such as `significance` needs to compare two systems.

    Args:
        known: The right text of each row.
        predicted: The same rows as predicted.
        metric: `rouge_l` or `chrf_row`, or any function of a known and a predicted text.

    Raises:
        ValueError: If the rows do not pair up.
    """
    return [metric(k, p) for k, p in zip(known, predicted, strict=True)]


def copy_source(sources: Sequence[str]) -> list[str]:
    """Predict each source itself: the baseline of translation into a near language, or repair."""
    return list(sources)


def lead(sources: Sequence[str], sentences: int = 3) -> list[str]:
    """Predict the first sentences of each source: the baseline of summarising news.

    A sentence ends at `.`, `!`, `?` or `…` before a space, at the full stops of scripts without
    spaces, and at an empty line. An abbreviation ends one too.
    """
    predicted = []
    for source in sources:
        ends = [match.end() for match in _SENTENCE_END.finditer(source.strip())]
        kept = source.strip()[: ends[sentences - 1]] if len(ends) >= sentences else source
        predicted.append(kept.strip())
    return predicted


def _sacrebleu(purpose: str) -> ModuleType:
    return require("sacrebleu", extra="text", purpose=purpose)


def _check_pairs(known: Sequence[str], predicted: Sequence[str]) -> None:
    if len(known) != len(predicted):
        raise ValueError(
            f"There are {len(known)} known texts but {len(predicted)} predicted ones; "
            f"give one of each for every row."
        )


def _runs(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))


def _f1(shared: int, known: int, predicted: int) -> float:
    return 2 * shared / (known + predicted) if shared else 0.0


def _common_subsequence(a: list[str], b: list[str]) -> int:
    """Return the length of the longest common subsequence (Hyyrö 2004).

    The usual table of `len(a) * len(b)` cells takes seconds for long texts. Here one row of it is
    the bits of one integer: bit `i` is 0 where the row grows by one at word `i` of `a`.
    """
    places: dict[str, int] = {}
    for at, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << at
    full = row = (1 << len(a)) - 1
    for word in b:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(a) - row.bit_count()
