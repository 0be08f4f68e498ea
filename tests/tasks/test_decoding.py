"""How texts are written: the settings reach the model, and what is drawn is seeded."""

import pytest
import torch
from transformers import T5ForConditionalGeneration

from inlay.errors import ConfigError
from inlay.tasks.decoding import DECODING, check_decoding, generate, room_for_words
from inlay.tasks.text_generation import TextGeneration
from inlay.tasks.text_to_text import TextToText
from tests.tasks import bases


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = bases.write(tmp_path_factory.mktemp("t5"), "encoder-decoder")
    return T5ForConditionalGeneration.from_pretrained(folder).eval()


INPUTS = {
    "input_ids": torch.tensor([[7, 9, 30, 41, 1]]), "attention_mask": torch.ones(1, 5).long()
}  # fmt: skip


def written(model, **settings):
    return generate(model, INPUTS, TextToText(**settings), bases.tokenizer()).tolist()


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
    assert len(written(model, num_beams=1, max_new_tokens=3)[0]) <= 4  # the start sign is first


@pytest.mark.parametrize("task", [TextToText, TextGeneration])
def test_every_task_that_writes_has_these_options(task):
    assert set(DECODING) <= set(task.options)
    check_decoding(task(do_sample=True, seed=3), ["do_sample", "seed"])
    with pytest.raises(ConfigError, match=r"^task option top_p=0.5: without do_sample=true"):
        check_decoding(task(top_p=0.5), ["top_p"])
