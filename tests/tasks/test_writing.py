"""What tasks share that write: likelihoods by hand, padding, and the unigram baseline."""

import math

import pytest
import torch
from torch.nn import functional as F

from inlay.tasks.base import Batch, Encoded
from inlay.tasks.masked_language_modelling import MaskedLanguageModelling
from inlay.tasks.text_generation import TextGeneration
from inlay.tasks.text_to_text import TextToText
from inlay.tasks.writing import IGNORED, Written, pad, padding_of, unigram

TASK = TextToText()


def test_only_known_tokens_count():
    scores = torch.randn(2, 3, 7)
    targets = torch.tensor([[1, 2, IGNORED], [4, IGNORED, IGNORED]])
    batch = Batch({}, targets)
    logs = scores.log_softmax(-1)
    nll = [-float(logs[0, 0, 1] + logs[0, 1, 2]), -float(logs[1, 0, 4])]
    kept = TASK.keep(scores, batch, [])
    assert [own[0].item() for own in kept] == pytest.approx(nll, rel=1e-5)
    assert [own[1].item() for own in kept] == [2, 1]
    assert float(TASK.loss(scores, batch, label_smoothing=0.0)) == pytest.approx(sum(nll) / 3)
    smoothed = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), label_smoothing=0.2)
    assert float(TASK.loss(scores, batch, label_smoothing=0.2)) == pytest.approx(float(smoothed))


def test_nothing_known_has_no_loss_and_is_no_nan():
    batch = Batch({}, torch.full((1, 2), IGNORED))
    assert float(TASK.loss(torch.randn(1, 2, 5), batch, label_smoothing=0.0)) == 0.0
    with pytest.raises(ValueError, match="a batch without targets has no loss"):
        TASK.loss(torch.randn(1, 2, 5), Batch({}, None), label_smoothing=0.0)


def test_windows_of_one_example_are_summed():
    rows = [Encoded({"input_ids": [1]}, None, row) for row in (0, 0, 1)]
    kept = [torch.tensor([1.0, 2, 1]), torch.tensor([3.0, 2, 0]), torch.tensor([5.0, 1, 1])]
    first, second = TASK.decode(kept, rows, [None, None])
    assert (first.nll, first.tokens) == (4.0, 4)
    assert first.confidence == pytest.approx(math.exp(-1.0))
    assert (second.nll, second.tokens) == (5.0, 1)
    found = TASK.metrics(kept, rows)
    assert found["loss"] == pytest.approx(9 / 5)
    assert found["token_probability"] == pytest.approx(math.exp(-9 / 5))
    assert found["token_accuracy"] == pytest.approx(2 / 5)
    assert "perplexity" not in found, "the headline is another"
    assert Written("x").confidence == 1.0


@pytest.mark.parametrize("task", [TextGeneration(), MaskedLanguageModelling()])
def test_a_training_tells_perplexity_where_the_report_is_about_it(task):
    found = task.metrics([torch.tensor([6.0, 4, 1])], [])
    assert found["perplexity"] == pytest.approx(math.exp(1.5))
    assert found[task.better] == pytest.approx(math.exp(-1.5)), "more is better"
    assert task.metrics([torch.tensor([1e5, 4, 1])], [])["perplexity"] < math.inf


def test_padding_on_either_side():
    assert pad([[1, 2], [3]], 0).tolist() == [[1, 2], [3, 0]]
    assert pad([[1, 2], [3]], 9, on_left=True).tolist() == [[1, 2], [9, 3]]


@pytest.mark.parametrize(("pads", "ends", "found"), [(3, 1, 3), (None, 1, 1), (None, None, 0)])
def test_the_end_sign_pads_where_there_is_no_other(pads, ends, found):
    class Tokenizer:
        pad_token_id, eos_token_id = pads, ends

    assert padding_of(Tokenizer()) == found


def test_unigram_is_add_one_smoothed():
    train = [Encoded({"input_ids": []}, [1, 1, 2, IGNORED]), Encoded({"input_ids": []}, [1])]
    test = [Encoded({"input_ids": []}, [1, IGNORED], 0), Encoded({"input_ids": []}, [5], 1)]
    first, second = unigram(train, test, 10, 2)
    assert (first.nll, first.tokens) == (pytest.approx(-math.log(4 / 14)), 1)
    assert second.nll == pytest.approx(-math.log(1 / 14))
