"""Spans: where an answer lies, the loss, the best spans, the threshold, against naive twins."""

import math
import random

import pytest
import torch

from inlay.metrics.answers import english_units, neutral_units
from inlay.tasks.base import Encoded
from inlay.tasks.spans import (
    BEST,
    Answer,
    Span,
    best_spans,
    fit_threshold,
    likeliest_sentence,
    place_answer,
    span_loss,
    trimmed,
    units_of,
)

OFFSETS = [(10, 13), (14, 18), (18, 18), (18, 19), (20, 26)]
"""Characters 10 to 26 of a context: "was born, Vienna" with an empty token."""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((14, "born"), ("whole", (1, 1))),
        ((14, "born,"), ("whole", (1, 3))),
        ((15, "or"), ("whole", (1, 1))),
        ((10, "was born, Vienna"), ("whole", (0, 4))),
        ((20, "Vienna"), ("whole", (4, 4))),
        ((20, "Vienna in"), ("cut", None)),
        ((5, "she was"), ("cut", None)),
        ((0, "Ada"), ("outside", None)),
        ((26, " in"), ("outside", None)),
        ((30, "1815"), ("outside", None)),
    ],
)
def test_where_an_answer_lies_in_a_window(answer, expected):
    assert place_answer(OFFSETS, [answer], is_first=False, is_last=False) == expected


def test_nothing_is_cut_at_the_ends_of_a_context():
    # A tokenizer may drop characters at either end; they are still not cut off by the window.
    assert place_answer(OFFSETS, [(9, "\u200bwas")], is_first=True, is_last=False)[0] == "whole"
    assert place_answer(OFFSETS, [(20, "Vienna\u200b")], is_first=False, is_last=True) == (
        "whole", (4, 4),
    )  # fmt: skip


def test_no_answer_and_no_tokens():
    assert place_answer(OFFSETS, [], is_first=True, is_last=True) == ("none", None)
    assert place_answer([], [(0, "a")], is_first=True, is_last=True) == ("outside", None)


def test_the_answer_of_most_annotators_is_learnt():
    answers = [(14, "born"), (20, "Vienna"), (20, "Vienna")]
    assert place_answer(OFFSETS, answers, is_first=True, is_last=True)[1] == (4, 4)
    assert place_answer(OFFSETS, answers[:2], is_first=True, is_last=True)[1] == (1, 1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_is_the_mean_cross_entropy_of_start_and_end(smoothing):
    scores = torch.randn(3, 7, 2, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[3, 4, 2, 6], [0, 0, 3, 7], [2, 2, 2, 3]])
    found = span_loss(scores, targets, label_smoothing=smoothing)
    for row, (start, end, first, stop) in enumerate(targets.tolist()):
        allowed = [0, *range(first, stop)]
        total = 0.0
        for side, right in ((0, start), (1, end)):
            values = [float(scores[row, at, side].detach()) for at in allowed]
            norm = math.log(sum(math.exp(value) for value in values))
            logs = dict(zip(allowed, (value - norm for value in values), strict=True))
            spread = sum(logs.values()) / len(logs)
            total -= ((1 - smoothing) * logs[right] + smoothing * spread) / 2
        assert float(found[row].detach()) == pytest.approx(total, rel=1e-10)
    found.sum().backward()
    assert torch.equal(scores.grad[0, 1], torch.zeros(2, dtype=torch.float64))
    assert torch.equal(scores.grad[0, 6], torch.zeros(2, dtype=torch.float64))
    assert scores.grad[0, [0, 2, 5]].abs().min() > 0


def test_a_window_without_context_has_a_loss_of_zero():
    found = span_loss(torch.randn(1, 4, 2), torch.tensor([[0, 0, 0, 0]]), label_smoothing=0.0)
    assert float(found) == 0


@pytest.mark.parametrize("longest", [1, 3, 30])
def test_best_spans_are_those_of_a_search_over_all(longest):
    scores = torch.randn(17, 2)
    offsets = [(4 * n, 4 * n + (n % 5 > 0) * 3) for n in range(11)]
    row = Encoded({"input_ids": [1] * 17}, extra={"first": 4, "offsets": offsets})
    everything = {
        (i, j): float(
            scores[4 + i, 0].double() + scores[4 + j, 1].double() - scores[0].double().sum()
        )
        for i in range(11)
        for j in range(i, min(11, i + longest))
        if i % 5 and j % 5
    }
    expected = sorted(everything, key=everything.get, reverse=True)[:BEST]
    found = list(best_spans(scores, row, longest))
    assert [(i, j) for _, i, j in found] == expected
    assert [odds for odds, _, _ in found] == pytest.approx([everything[at] for at in expected])


def test_a_window_without_context_has_no_span():
    row = Encoded({"input_ids": [1, 2]}, extra={"first": 0, "offsets": []})
    assert list(best_spans(torch.randn(2, 2), row, 5)) == []


def test_threshold_is_the_best_of_a_fine_grid():
    generator = random.Random(4)
    found = []
    for _ in range(80):
        is_empty = generator.random() < 0.4
        odds = round(generator.gauss(-1.5 if is_empty else 1.0, 1.5), 1)  # some are equal
        found.append((odds, 0.0 if is_empty else generator.random(), float(is_empty)))

    def value(threshold):
        return sum(answered if odds > threshold else none for odds, answered, none in found)

    best = max(value(step / 100 + 0.005) for step in range(-900, 900))
    assert value(fit_threshold(found)) == pytest.approx(best)
    assert value(fit_threshold(found)) > max(value(-99), value(99))


@pytest.mark.parametrize(
    ("found", "low", "high"),
    [
        ([(2.0, 1.0, 0.0), (-2.0, 0.0, 1.0)], 0, 0),
        ([(2.0, 0.0, 1.0), (3.0, 0.0, 1.0)], 3, 5),
        ([(2.0, 1.0, 0.0), (3.0, 1.0, 0.0)], 0, 2),
        ([(2.0, 0.5, 0.5), (-3.0, 0.5, 0.5)], -1, 1),
    ],
)
def test_of_equal_thresholds_the_one_near_zero_is_taken(found, low, high):
    assert low <= fit_threshold(found) <= high


@pytest.mark.parametrize(
    ("question", "context", "expected"),
    [
        ("Where did Ada live?", "Ada wrote. Ada did live in Bath! Who?", "Ada did live in Bath!"),
        ("How much?", "It rose. It cost 3.5 dollars, much indeed.\nNo.",
         "It cost 3.5 dollars, much indeed."),
        ("nothing", "One long sentence. Short.", "Short."),
        ("東京はどこ", "犬が好き。東京は日本にある。", "東京は日本にある。"),
        ("?", "  no end ", "no end"),
    ],
)  # fmt: skip
def test_the_sentence_with_most_words_of_the_question(question, context, expected):
    found = likeliest_sentence(question, context)
    assert found.text == expected == context[found.start : found.end]


def test_white_space_is_no_part_of_a_span():
    assert trimmed("a  b \n c", 1, 6) == (3, 4)
    start, end = trimmed("a   ", 1, 3)
    assert start >= end


def test_units_follow_the_script():
    assert units_of(["the end", "an end"]) is english_units
    assert units_of([]) is english_units
    assert units_of(["end", "東京"]) is neutral_units


def test_an_answer_in_all_its_forms():
    spans = (Span("Bath", 3, 7, 0.61234567), Span("in Bath", 0, 7, 0.25))
    answer = Answer(spans[0], spans, 0.125)
    assert (answer.answer, answer.confidence) == ("Bath", 0.61234567)
    assert answer.line(3) == "Bath  0.61"
    best = {"text": "Bath", "start": 3, "end": 7, "probability": 0.612346}
    assert answer.record(1) == {
        "answer": "Bath", "start": 3, "end": 7, "probability": 0.612346, "no_answer": 0.125,
        "best": [best],
    }  # fmt: skip
    assert len(answer.record(5)["best"]) == 2
    row = {
        "predicted_answer": "Bath", "predicted_start": 3, "predicted_end": 7,
        "probability": 0.612346,
    }  # fmt: skip
    assert answer.columns(1) == row
    assert answer.columns(2)["best_answers"][0] == best


def test_no_answer_in_all_its_forms():
    none = Answer(None, (Span("Bath", 3, 7, 0.2),), 0.8)
    assert (none.answer, none.confidence, none.line(1)) == ("", 0.8, "(no answer)  0.80")
    record = none.record(1)
    assert (record["answer"], record["start"], record["end"]) == ("", None, None)
    assert (record["probability"], record["best"][0]["text"]) == (0.8, "Bath")
