"""Tokenizers trained here: lossless, with offsets, with the special tokens of their objective."""

import pytest
from transformers import AutoTokenizer

from inlay.errors import ConfigError
from inlay.pretraining.tokenizer import SPECIALS, train_tokenizer
from tests.pretraining.text import documents

TEXTS = [*documents(40), "Two  blanks,\na new line, ünïcode and 中文."]


def make(objective="mlm", kind="bpe", vocab_size=400):
    return train_tokenizer(
        iter(TEXTS), kind=kind, specials=SPECIALS[objective], vocab_size=vocab_size, max_length=31
    )


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("objective", ["mlm", "clm", "denoise"])
def test_it_loads_gives_back_the_text_and_knows_its_offsets(tmp_path, objective, kind):
    make(objective, kind).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.is_fast, tokenizer.model_max_length) == (True, 31)
    for role, token in SPECIALS[objective].roles.items():
        assert getattr(tokenizer, role) == token
    assert tokenizer.pad_token_id == 0
    text = TEXTS[-1]
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    assert tokenizer.decode(encoded["input_ids"]) == text
    covered = "".join(text[start:end] for start, end in encoded["offset_mapping"])
    assert set(covered.replace(" ", "")) == set(text.replace(" ", ""))
    assert set(encoded) == {"input_ids", "attention_mask", "offset_mapping"}


def test_texts_are_wrapped_as_the_objective_wants():
    def wrapped(objective, *texts):
        tokenizer = make(objective)
        return tokenizer.decode(tokenizer(*texts)["input_ids"]).replace(" ", "")

    assert wrapped("mlm", "cat") == "[CLS]cat[SEP]"
    assert wrapped("mlm", "cat", "dog") == "[CLS]cat[SEP]dog[SEP]"
    assert wrapped("clm", "cat") == "<s>cat"
    assert wrapped("denoise", "cat") == "cat</s>"


def test_sentinels_are_special():
    tokenizer = make("denoise")
    ids = tokenizer("the<extra_id_0>cat", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_tokens_to_ids("<extra_id_0>") in ids
    assert {"<extra_id_0>", "<extra_id_99>"} <= set(tokenizer.all_special_tokens)


def test_bytes_know_every_text_and_characters_do_not():
    strange = "Ω≈ç√∫"
    bytes_, characters = make(kind="bpe"), make(kind="unigram")
    assert bytes_.decode(bytes_(strange, add_special_tokens=False)["input_ids"]) == strange
    unknown = characters(strange, add_special_tokens=False)["input_ids"]
    assert characters.unk_token_id in unknown


def test_a_small_text_gives_a_small_vocabulary():
    assert len(make(vocab_size=300)) == 300
    assert len(make(vocab_size=100_000)) < 1000


def test_a_vocabulary_without_room_for_the_alphabet_is_refused():
    with pytest.raises(ConfigError, match=r"vocab_size=200: the 256 bytes and 5 special tokens n"):
        make(vocab_size=200)
    with pytest.raises(ConfigError, match=r"vocab_size=20: the corpus has \d+ different charact"):
        make(kind="unigram", vocab_size=20)
