"""Texts for texts: encoding, likelihood, beams, metrics and a whole training."""

import dataclasses
import json

import pytest
import torch
from torch.nn import functional as F
from transformers import BartConfig, BartForConditionalGeneration

import inlay
from inlay.cli.main import main
from inlay.data.rows import Example
from inlay.errors import BaseError
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.text_to_text import TextToText
from inlay.tasks.writing import IGNORED, Written
from tests import tiny
from tests.data.forms.files import write_jsonl
from tests.tasks import bases

TASK = TextToText(num_beams=2, max_new_tokens=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bases.write(tmp_path_factory.mktemp("t5"), "encoder-decoder")


@pytest.fixture(scope="module")
def base(folder):
    return load_base(resolve_base(str(folder)), needs="encoder-decoder")


def row(source, target=""):
    return Example(source, None, target, "f", 1)


ROWS = [row("the quick fox", "a card"), row("a", "the lazy dog jumps over a loan")]


def test_sources_and_targets_end_with_their_sign_and_cuts_are_counted(base):
    found = TASK.encode(ROWS, base[1], max_length=5)
    assert all(own.features["input_ids"][-1] == 1 and own.target[-1] == 1 for own in found)
    assert max(len(own.target) for own in found) <= 5
    assert [own.extra["cut"] for own in found][1] == (False, True)
    notes = TASK.reading_notes(found, max_length=5)
    assert "1 of 2 targets cut to 5 tokens" in notes
    assert TASK.encode([], base[1], max_length=5) == []


def test_targets_that_no_answer_can_reach_are_counted(base):
    found = TASK.encode(ROWS, base[1], max_length=40)
    longest = max(len(own.target) - 1 for own in found)
    for most, number in ((longest, 0), (longest - 1, 1)):
        notes = dataclasses.replace(TASK, max_new_tokens=most).reading_notes(found, max_length=40)
        said = f"1 of 2 targets longer than max_new_tokens {most}, where an answer ends"
        assert notes == [said] * number


def test_padding_changes_no_likelihood(base):
    encoded = TASK.encode(ROWS, base[1], max_length=40)
    with torch.no_grad():
        batch = TASK.collate(encoded, base[1])
        kept = TASK.keep(TASK.scores(base[0], None, batch), batch, encoded)
        for own, together in zip(encoded, kept, strict=True):
            single = TASK.collate([own], base[1])
            alone = TASK.keep(TASK.scores(base[0], None, single), single, [own])[0]
            assert torch.allclose(alone, together, atol=1e-4)
        one = TASK.collate(encoded[:1], base[1])
        logits = TASK.scores(base[0], None, one)
    expected = F.cross_entropy(logits[0], torch.tensor(encoded[0].target), reduction="sum")
    assert float(kept[0][0]) == pytest.approx(float(expected), rel=1e-4)
    assert batch.targets[0, -1] == IGNORED


def test_a_batch_writes_what_each_row_alone_writes(base):
    encoded = TASK.encode_prompts(ROWS, base[1], max_length=40)
    together = TASK.write(base[0], encoded, base[1], device="cpu")
    alone = [TASK.write(base[0], [own], base[1], device="cpu")[0] for own in encoded]
    assert together == alone


def test_what_is_drawn_is_seeded_and_leaves_no_trace(base):
    drawing = TextToText(num_beams=1, do_sample=True, max_new_tokens=8, seed=3)
    encoded = drawing.encode_prompts(ROWS, base[1], max_length=40)
    before = torch.random.get_rng_state()
    one = drawing.write(base[0], encoded, base[1], device="cpu")
    assert drawing.write(base[0], encoded, base[1], device="cpu") == one
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_answer_ends_where_the_decoder_has_no_more_positions(base):
    config = BartConfig(
        vocab_size=len(base[1]), d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_position_embeddings=12, pad_token_id=0, decoder_start_token_id=2, eos_token_id=1,
        bos_token_id=2, forced_eos_token_id=None, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2,
    )  # fmt: skip
    torch.manual_seed(1)
    model = BartForConditionalGeneration(config).eval()
    model.generation_config.suppress_tokens = [1]  # it never ends by itself
    writer = TextToText(num_beams=1, max_new_tokens=40)
    encoded = writer.encode_prompts(ROWS, base[1], max_length=12)
    for found in writer.write(model, encoded, base[1], device="cpu"):
        assert found.finish_reason == "positions"


def test_report_and_baselines():
    known = [row("It rains. It pours.", "it rains"), row("abc", "abc")]
    answers = [Written("it rains", 2.0, 2), Written("xyz", 4.0, 2)]
    found = TASK.full_report(known, answers)
    assert (found["metric"], found["rouge_l"]) == ("rouge_l", 0.5)
    assert found["exact_match"] == 0.5
    assert found["perplexity"] == pytest.approx(2.718281828**1.5, rel=1e-6)
    baselines = TASK.baselines([], known)
    assert [own.answer for own in baselines["copied_source"]] == [own.text for own in known]
    assert baselines["first_sentence"][0].answer == "It rains."


def test_a_base_of_another_kind_is_refused(tmp_path_factory):
    other = str(tiny.shared_base(tmp_path_factory.getbasetemp()))
    with pytest.raises(
        BaseError, match="is an encoder, and this task needs an encoder-decoder. Name"
    ):
        load_base(resolve_base(other), needs="encoder-decoder")


def test_labels_are_not_learnt_on_it(folder, tmp_path):
    rows = [{"text": f"say {n}", "label": "ab"[n % 2]} for n in range(60)]
    path = write_jsonl(tmp_path / "d.jsonl", rows)
    with pytest.raises(BaseError, match="is encoder-decoder, which task 'text-classification' ca"):
        inlay.train(path, base=str(folder), out=str(tmp_path / "run"))


def test_from_data_to_answers(folder, tmp_path, capsys):
    words = ["quick", "brown", "fox", "lazy", "dog", "card", "loan"]
    rows = [
        {"source": f"say {words[n % 7]} {n}", "target": f"{words[n % 7]} it is {n}"}
        for n in range(60)
    ]
    run = inlay.train(
        write_jsonl(tmp_path / "d.jsonl", rows), base=str(folder), epochs=2, learning_rate=1e-2,
        layers="all", out=str(tmp_path / "run"),
    )  # fmt: skip
    assert run.metrics["task"] == "text-to-text"
    assert run.metrics["head_parameters"] == 0
    assert set(run.metrics["baselines"]) == {"copied_source", "first_sentence"}
    assert run.metrics["reload_check"]["identical"] == run.metrics["reload_check"]["rows"]
    (answer,) = run.predict(["say fox 3"])
    assert isinstance(answer.text, str)
    short = ["--task-option", "max_new_tokens=1", "--task-option", "num_beams=1"]
    note = (
        "cut off after max_new_tokens 1; for longer ones give a larger task option max_new_tokens"
    )
    assert main(["predict", str(tmp_path / "run"), "say fox 3", "--json", *short]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["finish_reason"] == "max_new_tokens"
    assert err == f"note: 1 of 1 answer {note}\n"
    assert main(["evaluate", str(tmp_path / "run"), *short]) == 0
    assert f"note: 6 of 6 answers {note}\n" in capsys.readouterr().err
