"""How texts are written: the settings reach the model, and what is drawn is seeded."""

import pytest
import torch
from transformers import T5ForConditionalGeneration

from inlay.errors import ConfigError
from inlay.tasks.decoding import DECODING, check_decoding, finish_notes, generate, room_for_words
from inlay.tasks.text_generation import TextGeneration
from inlay.tasks.text_to_text import TextToText
from inlay.tasks.writing import Written
from tests.tasks import bases


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = bases.write(tmp_path_factory.mktemp("t5"), "encoder-decoder")
    return T5ForConditionalGeneration.from_pretrained(folder).eval()


INPUTS = {
    "input_ids": torch.tensor([[7, 9, 30, 41, 1]]), "attention_mask": torch.ones(1, 5).long()
}  # fmt: skip


def written(model, **settings):
    (found,) = generate(model, INPUTS, TextToText(**settings), bases.tokenizer())
    return found.text


def will_write(model, monkeypatch, *tokens):
    """Have the base give these tokens, behind the sign that a decoder begins with."""
    given = {}

    def fake(**options):
        given.update(options)
        return torch.tensor([[0, *own] for own in tokens])

    monkeypatch.setattr(model, "generate", fake)
    return given


def reasons(model, **settings):
    found = generate(model, INPUTS, TextToText(**settings), bases.tokenizer())
    return [own.finish_reason for own in found]


def test_a_base_without_positions_has_room_for_any_text(model):
    assert room_for_words(model, 1) == float("inf")


def test_what_is_drawn_depends_on_the_seed_alone(model):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = written(model, num_beams=1, do_sample=True, seed=4, max_new_tokens=12)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert written(model, num_beams=1, do_sample=True, seed=4, max_new_tokens=12) == first
    others = [
        written(model, num_beams=1, do_sample=True, seed=seed, max_new_tokens=12)
        for seed in (5, 6, 7)
    ]
    assert any(other != first for other in others)


def test_a_low_temperature_and_a_narrow_choice_are_the_most_probable_token(model):
    greedy = written(model, num_beams=1, max_new_tokens=6)
    drawn = {"num_beams": 1, "do_sample": True, "max_new_tokens": 6}
    assert written(model, **drawn, temperature=1e-4) == greedy
    assert written(model, **drawn, top_p=1e-6) == greedy


def test_the_length_is_the_most_that_is_written(model):
    longer = written(model, num_beams=1, max_new_tokens=6)
    assert longer.startswith(written(model, num_beams=1, max_new_tokens=3))


def test_why_a_text_ends_is_told(model, monkeypatch):
    will_write(model, monkeypatch, [9, 7, 1, 0], [9, 7, 7, 1], [9, 7, 7, 7])
    assert reasons(model, max_new_tokens=4) == ["stop", "stop", "max_new_tokens"]
    (found,) = generate(model, INPUTS, TextToText(), bases.tokenizer(), most=4)[2:]
    assert found.finish_reason == "positions"
    assert found.record(1) == found.columns(1) == {
        "predicted_text": found.text, "finish_reason": "positions"
    }  # fmt: skip


def test_a_sign_of_the_end_that_is_forced_at_the_limit_ends_nothing(model, monkeypatch):
    monkeypatch.setattr(model.generation_config, "forced_eos_token_id", 1)
    will_write(model, monkeypatch, [9, 7, 7, 1], [9, 7, 1, 0])
    assert reasons(model, max_new_tokens=4) == ["max_new_tokens", "stop"]


@pytest.mark.parametrize(("named", "ends"), [(None, [1]), (9, [1, 9]), ([5, 9], [1, 5, 9])])
def test_what_was_learnt_as_the_end_ends_a_text_whatever_the_base_names(
    model, monkeypatch, named, ends
):
    monkeypatch.setattr(model.generation_config, "eos_token_id", named)
    given = will_write(model, monkeypatch, [7, 1])
    assert reasons(model) == ["stop"]
    assert given["eos_token_id"] == ends


def test_answers_that_are_cut_off_are_counted():
    answers = [Written("a", finish_reason=own) for own in ("stop", "max_new_tokens", "positions")]
    assert finish_notes(answers[:1], 8) == finish_notes([Written("a")], 8) == []
    assert finish_notes(answers, 8) == [
        "1 of 3 answers cut off after max_new_tokens 8; for longer ones give a larger task option "
        "max_new_tokens",
        "1 of 3 answers cut off where the base has no more positions; shorten what is asked for "
        "longer ones",
    ]


@pytest.mark.parametrize("task", [TextToText, TextGeneration])
def test_every_task_that_writes_has_these_options(task):
    assert set(DECODING) <= set(task.options)
    check_decoding(task(do_sample=True, seed=3), ["do_sample", "seed"])
    with pytest.raises(ConfigError, match=r"^task option top_p=0.5: without do_sample=true"):
        check_decoding(task(top_p=0.5), ["top_p"])
