"""Perplexity against one computed by hand, and the baselines that take no model."""

import math
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from inlay.pretraining import perplexity
from inlay.pretraining.objectives import IGNORED, OBJECTIVES, Vocabulary
from inlay.pretraining.perplexity import baselines, held_out_indices, logits_of, measure
from inlay.pretraining.stream import Stream, encode
from tests.pretraining.text import documents


def load(finished, objective):
    folder = finished(objective)[0].folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = OBJECTIVES[objective](Vocabulary(tokenizer))
    auto = AutoModelForSeq2SeqLM if objective == "denoise" else AutoModelForCausalLM
    return auto.from_pretrained(folder), tokenizer, made


def test_a_causal_perplexity_is_that_of_a_naive_sum(finished):
    model, tokenizer, objective = load(finished, "clm")
    tokens = encode(documents(5, seed=9), tokenizer, objective)
    stream = Stream(tokens, objective.window(20), keeps_rest=True)
    found = measure(model, objective, stream, batch_size=3, autocast=False)
    model = model.double().eval()
    total, count = 0.0, 0
    for place in range(1, len(tokens)):
        start = (place - 1) // 20 * 20
        logits = model(input_ids=tokens[None, start:place].long()).logits[0, -1]
        token = int(tokens[place])
        if token not in tokenizer.all_special_ids:
            logits = logits.index_fill(0, torch.tensor(tokenizer.all_special_ids), -torch.inf)
            total -= float(logits.log_softmax(0)[token].detach())
            count += 1
    assert found["loss"] == pytest.approx(total / count, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)


@pytest.mark.parametrize("objective", ["clm", "denoise"])
def test_batch_size_does_not_matter_and_the_model_is_left_as_it_was(finished, objective):
    model, tokenizer, made = load(finished, objective)
    stream = Stream(
        encode(documents(8, seed=9), tokenizer, made), made.window(20), keeps_rest=True
    )  # fmt: skip
    model.train()
    state = torch.random.get_rng_state()
    one = measure(model, made, stream, batch_size=1, autocast=False)
    many = measure(model, made, stream, batch_size=7, autocast=False)
    assert one["loss"] == pytest.approx(many["loss"], rel=1e-5)
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_decoder_is_given_the_answer_shifted_as_the_model_itself_shifts_it(finished):
    model, tokenizer, made = load(finished, "denoise")
    model.eval()
    stream = Stream(encode(documents(4, seed=9), tokenizer, made), made.window(20), keeps_rest=True)
    rows = [*stream.rows(range(len(stream))), stream.row(0)[:9]]
    batch = made.batch(rows, torch.Generator().manual_seed(1))
    assert (batch.labels == IGNORED).any()
    own = model(**batch.inputs, labels=batch.labels)
    torch.testing.assert_close(logits_of(model, batch), own.logits)


def test_baselines_by_hand():
    """Five ordinary tokens and a special one; a stand-in for an objective asks for all tokens."""
    known = SimpleNamespace(
        size=6, pad=0, is_special=torch.tensor([True] + [False] * 5), ordinary=torch.arange(1, 6)
    )

    class Everything:
        vocabulary = known

        def batch(self, rows, generator):
            from inlay.pretraining.objectives import Batch

            return Batch(inputs={"input_ids": rows[0][None]}, labels=rows[0][None])

    train = torch.tensor([1, 1, 1, 2, 0, 0, 3], dtype=torch.int32)
    held_out = torch.tensor([1, 0, 5, 2], dtype=torch.int32)
    window = SimpleNamespace(size=4, stride=4)
    found = baselines(Everything(), train, Stream(held_out, window, keeps_rest=True))
    # Counts 3, 1, 1, 0, 0 and one more each: 4 + 2 + 2 + 1 + 1 = 10; asked: 1, 5 and 2.
    expected = (4 / 10 * 1 / 10 * 2 / 10) ** (-1 / 3)
    assert found == {"uniform": 5.0, "unigram": pytest.approx(expected)}


def test_of_a_long_text_evenly_spaced_sequences_are_measured(monkeypatch):
    monkeypatch.setattr(perplexity, "_MOST", 4)
    assert list(held_out_indices(range(4))) == [0, 1, 2, 3]
    assert held_out_indices(range(10)) == [0, 2, 5, 7]
