"""Answers of tasks that decode and of tasks that write, in their order."""

import pytest
import torch

from inlay.data.rows import Example
from inlay.evaluation.answering import answer_prompts, answer_rows, write_rows
from inlay.evaluation.predictor import load_predictor
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.text_generation import TextGeneration
from tests import tiny
from tests.tasks import bases

ROWS = [Example(text, None, label, "f", 1) for text, label in tiny.rows(9, seed=6)]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    folder = bases.write(tmp_path_factory.mktemp("llama"), "decoder")
    return load_base(resolve_base(str(folder)), needs="decoder")


def test_answers_are_in_the_order_of_the_examples(finished):
    p = load_predictor(finished.folder)
    rows = p.encode(ROWS)
    found = answer_rows(p.task, p.model, p.head, rows, ROWS, p.tokenizer, batch_size=4)
    asked = answer_prompts(p.task, p.model, p.head, ROWS, p.tokenizer, max_length=p.max_length)
    assert [own.answer for own in found] == [own.answer for own in asked]
    assert answer_rows(p.task, p.model, p.head, [], [], p.tokenizer) == []
    assert answer_prompts(p.task, p.model, p.head, [], p.tokenizer, max_length=9) == []


def test_a_report_has_texts_and_likelihoods_and_a_question_texts_only(decoder):
    model, tokenizer = decoder
    task = TextGeneration(form="to-text", max_new_tokens=4)
    rows = [Example(text, None, "a dog", "f", 1) for text in ("the fox", "a", "my card was lost")]
    encoded = task.encode(rows, tokenizer, max_length=40)
    found = answer_rows(task, model, None, encoded, rows, tokenizer, batch_size=2)
    assert all(own.nll > 0 and own.tokens > 2 for own in found)
    asked = answer_prompts(task, model, None, rows, tokenizer, max_length=40)
    assert [own.text for own in asked] == [own.text for own in found]
    assert {own.tokens for own in asked} == {0}


def test_running_text_is_measured_and_not_written(decoder, monkeypatch):
    model, tokenizer = decoder
    task = TextGeneration(form="plain")
    monkeypatch.setattr(TextGeneration, "write", lambda *given, **more: 1 / 0)
    rows = [Example("the fox", None, "", "f", 1)]
    encoded = task.encode(rows, tokenizer, max_length=40)
    (found,) = answer_rows(task, model, None, encoded, rows, tokenizer)
    assert (found.text, found.tokens > 0) == ("", True)
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        write_rows(task, model, encoded, tokenizer)


def test_training_modes_come_back(decoder):
    model, tokenizer = decoder
    task = TextGeneration(form="plain", max_new_tokens=2)
    rows = task.encode_prompts([Example("a", None, "", "f", 1)], tokenizer, max_length=9)
    model.train()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    write_rows(task, model, rows, tokenizer)
    assert [module.training for module in model.modules()] == before
    assert not torch.is_inference_mode_enabled()
    model.eval()
