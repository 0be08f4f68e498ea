"""Models built from nothing or loaded, and whether they see the text as the objective needs."""

import json

import pytest
import torch

from inlay.errors import BaseError, ConfigError
from inlay.pretraining.model import build_model, check_fit, load_model
from inlay.pretraining.objectives import OBJECTIVES, Vocabulary
from inlay.pretraining.sizes import SIZES, shape_of
from inlay.pretraining.tokenizer import SPECIALS, train_tokenizer
from inlay.training.precision import Numerics
from tests import tiny
from tests.pretraining import text

PLAIN = Numerics("float32", autocast=False, attention="sdpa")


def tokenizer_for(objective):
    return train_tokenizer(
        text.documents(40), kind="bpe", specials=SPECIALS[objective], vocab_size=400, max_length=32
    )


def build(objective, size, tokenizer=None):
    tokenizer = tokenizer or tokenizer_for(objective)
    made = OBJECTIVES[objective](Vocabulary(tokenizer))
    return build_model(shape_of(str(size), objective), made, tokenizer, PLAIN), tokenizer


@pytest.mark.parametrize("objective", ["mlm", "clm", "denoise"])
def test_a_built_model_has_the_tokenizer_s_ids_and_the_promised_weights(objective):
    model, tokenizer = build(objective, "tiny")
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.pad_token_id == tokenizer.pad_token_id == 0
    assert model.config.eos_token_id == tokenizer.eos_token_id
    size = SIZES["tiny"]
    promised = sum(p.numel() for p in model.parameters())
    promised += (size.vocab_size - len(tokenizer)) * size.width
    assert 1.0e6 < promised < 1.25e6
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    if objective == "denoise":
        assert model.config.decoder_start_token_id == 0
    else:
        assert model.config.max_position_embeddings == 32


def test_a_configuration_may_name_another_architecture(tmp_path):
    path = tmp_path / "gpt.json"
    path.write_text(json.dumps({"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}))
    model, _ = build("clm", path)
    assert (model.config.model_type, model.config.n_embd) == ("gpt2", 16)
    with pytest.raises(ConfigError, match=r"a 'gpt2' model cannot be built for objective mlm, wh"):
        build("mlm", path)
    path.write_text(json.dumps({"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1}))
    with pytest.raises(ConfigError, match=r"a 'bert' model cannot be built for objective mlm"):
        build("mlm", path)  # 16 is no multiple of 12 heads
    path.write_text(json.dumps({"model_type": "nonsense"}))
    with pytest.raises(ConfigError, match=r"a 'nonsense' model cannot be built for objective mlm"):
        build("mlm", path)
    path.write_text(json.dumps(text.SHAPES["mlm"] | {"model_type": "bert"}))
    with pytest.raises(ConfigError, match=r"'bert' does not fit objective clm, which needs a deco"):
        build("clm", path)  # loads as a decoder, yet looks ahead


@pytest.mark.parametrize("objective", ["mlm", "clm", "denoise"])
def test_fit_is_told_from_what_a_model_does(tmp_path, objective):
    model, tokenizer = build(objective, text.write_shape(tmp_path, objective))
    model.train()
    for other, made in OBJECTIVES.items():
        if made.has_two_sides and objective != "denoise":
            continue  # its tokenizer is refused before
        known = Vocabulary(tokenizer)
        known.mask = known.mask or 1
        if other == objective or (made.has_two_sides and objective == "denoise"):
            check_fit(model, made(known), name="it")
        else:
            with pytest.raises(ConfigError, match=rf"^'it' does not fit objective {other}, which"):
                check_fit(model, made(known), name="it")
    assert model.training


def test_a_base_is_loaded_with_a_head_that_is_new_if_it_has_none(tmp_path_factory):
    base = tiny.shared_base(tmp_path_factory.getbasetemp())
    model, tokenizer, notes = load_model(str(base), OBJECTIVES["mlm"], PLAIN)
    assert model.config.vocab_size == len(tokenizer)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert len(notes) == 1 and "tensors are new, such as cls.predictions" in notes[0]
    with pytest.raises(ConfigError, match=r"does not fit objective clm"):
        load_model(str(base), OBJECTIVES["clm"], PLAIN)
    with pytest.raises(BaseError, match=r"objective denoise: the base's tokenizer has no sentinel"):
        load_model(str(base), OBJECTIVES["denoise"], PLAIN)


def test_a_base_without_tokenizer_or_a_damaged_one_is_refused(tmp_path):
    model, tokenizer = build("mlm", text.write_shape(tmp_path, "mlm"))
    model.save_pretrained(tmp_path / "bare")
    with pytest.raises(BaseError, match=r"has no tokenizer, so it cannot read text"):
        load_model(str(tmp_path / "bare"), OBJECTIVES["mlm"], PLAIN)
    tokenizer.save_pretrained(tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(BaseError, match=r"\(on disk\) could not be loaded"):
        load_model(str(tmp_path / "bare"), OBJECTIVES["mlm"], PLAIN)
