"""Scores of texts against rouge-score, sacreBLEU and counts by hand."""

import sys
from collections import Counter
from math import exp, log

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from inlay.errors import MissingExtraError
from inlay.metrics.generation import (
    bleu,
    bleu_tokenizer,
    chrf,
    chrf_row,
    copy_source,
    exact_match,
    lead,
    rouge,
    rouge_l,
    rouge_n,
    row_scores,
)

WORDS = ["the", "The", "cat", "sat", "on", "a", "mat", "don't", "3.5", "snake_case", "--", "end."]


def texts(seed: int, rows: int = 25) -> tuple[list[str], list[str]]:
    """Draw known texts and predictions that keep most of their words."""
    generator = np.random.default_rng(seed)
    known, predicted = [], []
    for _ in range(rows):
        words = generator.choice(WORDS, generator.integers(1, 30)).tolist()
        kept = [word for word in words if generator.random() < 0.8]
        extra = generator.choice(WORDS, generator.integers(0, 8)).tolist()
        known.append(" ".join(words))
        predicted.append(" ".join(kept + extra))
    return known, predicted


@pytest.mark.parametrize("seed", range(10))
def test_rouge_equals_that_of_rouge_score(seed):
    known, predicted = texts(seed)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    rows = [scorer.score(k, p) for k, p in zip(known, predicted, strict=True)]
    for k, p, row in zip(known, predicted, rows, strict=True):
        assert rouge_n(k, p, 1) == pytest.approx(row["rouge1"].fmeasure, abs=1e-12)
        assert rouge_n(k, p, 2) == pytest.approx(row["rouge2"].fmeasure, abs=1e-12)
        assert rouge_l(k, p) == pytest.approx(row["rougeL"].fmeasure, abs=1e-12)
    means = {
        ours: np.mean([row[theirs].fmeasure for row in rows])
        for ours, theirs in {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}.items()
    }
    assert rouge(known, predicted) == pytest.approx(means, abs=1e-12)
    assert 0.3 < means["rouge_2"] < means["rouge_l"] < 1


def test_rouge_l_of_long_texts_equals_the_table():
    generator = np.random.default_rng(5)
    a, b = (generator.choice([f"w{n}" for n in range(30)], size).tolist() for size in (150, 211))
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, first in enumerate(a):
        for j, second in enumerate(b):
            longest = max(table[i, j + 1], table[i + 1, j])
            table[i + 1, j + 1] = table[i, j] + 1 if first == second else longest
    expected = 2 * table[-1, -1] / (len(a) + len(b))
    assert rouge_l(" ".join(a), " ".join(b)) == pytest.approx(expected, abs=1e-12)


def test_rouge_of_other_scripts_and_nothing():
    assert rouge_n("北京大学", "北京。", 1) == pytest.approx(2 * 2 / 6)
    assert rouge_l("Été à Paris", "été Paris") == pytest.approx(2 * 2 / 5)
    # Words are not stemmed.
    assert rouge_n("cats", "cat", 1) == 0
    assert rouge_n("", "", 1) == rouge_l("a", "") == rouge_n("one", "one", 2) == 0
    assert rouge([], []) == {"rouge_1": 0, "rouge_2": 0, "rouge_l": 0}


@pytest.mark.parametrize("seed", range(5))
def test_bleu_and_chrf_are_those_of_sacrebleu(seed):
    known, predicted = texts(seed)
    expected = sacrebleu.corpus_bleu(predicted, [known]).score
    assert 10 < expected < 95
    assert 100 * bleu(known, predicted) == pytest.approx(expected)
    expected = sacrebleu.corpus_chrf(predicted, [known]).score
    assert 100 * chrf(known, predicted) == pytest.approx(expected)
    rows = row_scores(known, predicted, chrf_row)
    expected = [
        sacrebleu.sentence_chrf(p, [k]).score for k, p in zip(known, predicted, strict=True)
    ]
    assert [100 * row for row in rows] == pytest.approx(expected)
    assert row_scores(known, predicted) == [
        rouge_l(k, p) for k, p in zip(known, predicted, strict=True)
    ]


def test_bleu_by_its_definition():
    known, predicted = ["a b c d e f", "g h i j k"], ["a b c d x", "g h i k"]
    logs = []
    for n in range(1, 5):
        same = total = 0
        for k, p in zip(known, predicted, strict=True):
            theirs, ours = (
                Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
                for words in (k.split(), p.split())
            )
            same, total = same + (theirs & ours).total(), total + ours.total()
        logs.append(log(same / total))
    expected = exp(1 - 11 / 9) * exp(sum(logs) / 4)
    assert bleu(known, predicted) == pytest.approx(expected)


def test_chrf_weighs_recall_more_than_precision():
    assert chrf(["abcdefgh ijkl"], ["abcd"]) < chrf(["abcd"], ["abcdefgh ijkl"])


def test_the_tokenizer_follows_the_script():
    assert bleu_tokenizer(["The cat of 北京 sat."]) == "13a"
    assert bleu_tokenizer(["北京大学在中国。", "GPU 很快"]) == "zh"
    assert bleu_tokenizer(["東京タワーへ行きました"]) == "char"
    assert bleu_tokenizer(["ภาษาไทย"]) == "char"
    assert bleu_tokenizer(["서울 타워에 갔다"]) == bleu_tokenizer([]) == "13a"
    known, predicted = ["北京大学在中国的首都。"], ["北京大学在中国首都。"]
    expected = sacrebleu.corpus_bleu(predicted, [known], tokenize="zh").score
    assert 100 * bleu(known, predicted) == pytest.approx(expected)
    assert expected > 100 * bleu(known, predicted, tokenizer="13a")
    japanese = ["東京タワーへ行きました"]
    expected = sacrebleu.corpus_bleu(["東京タワーに行きました"], [japanese], tokenize="char").score
    assert 100 * bleu(japanese, ["東京タワーに行きました"]) == pytest.approx(expected)


def test_perfect_and_empty_texts(caplog):
    same = ["a whole sentence of words .", "and one more of them ."] * 60
    assert bleu(same, same) == pytest.approx(1)
    assert chrf(same, same) == pytest.approx(1)
    assert exact_match(same, same) == 1
    assert bleu([], []) == chrf([], []) == exact_match([], []) == 0
    assert bleu(["a b"], [""]) == chrf(["a b"], [""]) == chrf_row("a b", "") == 0
    assert not caplog.records
    assert exact_match(["a  b\n", "c", "C"], [" a b", "d", "c"]) == pytest.approx(1 / 3)


def test_baselines():
    sources = ["One. Two! Three? Four.", "  Only 3.5 of them ", ""]
    assert copy_source(sources) == sources
    assert lead(sources) == ["One. Two! Three?", "Only 3.5 of them", ""]
    assert lead(sources, 1) == ["One.", "Only 3.5 of them", ""]
    assert lead(['He said "go." She went. End.'], 2) == ['He said "go." She went.']
    assert lead(["今天。明天\uff01后天。"], 2) == ["今天。明天\uff01"]
    assert lead(["「行く。」と言った。次。"], 1) == ["「行く。」と言った。"]
    assert lead(["A headline\n\nThe text. More."], 1) == ["A headline"]


def test_rows_must_pair_up():
    for metric in (bleu, chrf):
        with pytest.raises(ValueError, match="2 known texts but 1 predicted"):
            metric(["a", "b"], ["a"])
    for metric in (rouge, row_scores, exact_match):
        with pytest.raises(ValueError, match="shorter than argument 1"):
            metric(["a", "b"], ["a"])


def test_without_sacrebleu_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    for metric, word in ((bleu, "BLEU"), (chrf, "chrF")):
        with pytest.raises(MissingExtraError, match=rf"{word} needs sacrebleu.*inlay\[text\]"):
            metric(["a"], ["a"])
    assert rouge(["a"], ["a"])["rouge_1"] == 1
