"""Words and their tokens: any fast tokenizer, long texts, and words that no token stands for."""

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CanineTokenizer, PreTrainedTokenizerFast

from inlay.errors import ConfigError
from inlay.store.bases import load_tokenizer, resolve_base
from inlay.tasks.base import Encoded
from inlay.tasks.word_windows import join_windows, read_windows
from tests import tiny


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory):
    """Of the tiny base; it spells what it does not know, and drops control characters."""
    return load_tokenizer(resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp()))))


def trained(pre_tokenizer, *, normalizer=None, template=None):
    """Train byte pairs on a few words; the tokenizer has no special tokens but one."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        made.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<e>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["fly to rome please fly to rome"] * 9, trainer)
    if template is not None:
        made.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<e>", made.token_to_id("<e>"))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<e>", pad_token="<e>")


def first_tokens(tokenizer, words, max_length=256):
    (window,) = read_windows([words], tokenizer, max_length=max_length)
    tokens = tokenizer.convert_ids_to_tokens(window.features["input_ids"])
    return {words[word]: tokens[position] for word, position in window.places.items()}


def test_a_tokenizer_that_does_not_know_its_words_is_refused():
    with pytest.raises(ConfigError, match="CanineTokenizer does not tell which word"):
        read_windows([["a"]], CanineTokenizer(), max_length=8)
    assert read_windows([], CanineTokenizer(), max_length=8) == []


def test_wordpiece_reads_the_first_piece(wordpiece):
    found = first_tokens(wordpiece, ["flight", "flightzx", "a-b", "zx"])
    assert found == {"flight": "flight", "flightzx": "flight", "a-b": "a", "zx": "z"}


def test_byte_pairs_keep_the_space_that_they_were_trained_with():
    tokenizer = trained(pre_tokenizers.ByteLevel(add_prefix_space=False))
    assert first_tokens(tokenizer, ["fly", "to", "rome"]) == {
        "fly": "fly", "to": "Ġto", "rome": "Ġrome"
    }  # fmt: skip
    # A space that is a token of its own belongs to no word.
    assert first_tokens(tokenizer, ["fly", "é", "rome"])["é"] == "Ã"


def test_pieces_with_a_sign_for_the_space_and_a_token_in_front():
    tokenizer = trained(pre_tokenizers.Metaspace(), template="<e> $A")
    found = first_tokens(tokenizer, ["fly", "rome"])
    assert {word: piece.lstrip("▁")[:1] for word, piece in found.items()} == {
        "fly": "f", "rome": "r"
    }  # fmt: skip


def test_a_token_over_two_words_stands_for_both():
    merged = Tokenizer(models.WordLevel({"a b": 0, "c": 1, "?": 2}, unk_token="?"))
    merged.pre_tokenizer = pre_tokenizers.Split("|", "removed")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=merged, unk_token="?")
    (window,) = read_windows([["a", "b|c", "d"]], tokenizer, max_length=8)
    assert window.places == {0: 0, 1: 0, 2: 1}


def test_words_without_a_token_keep_the_others_in_line(wordpiece):
    words = ["my", "\u200b\u0000", "card", "\u0301"]
    (window,) = read_windows([words], wordpiece, max_length=32)
    tokens = wordpiece.convert_ids_to_tokens(window.features["input_ids"])
    assert [tokens[window.places[word]] for word in (0, 2)] == ["my", "card"]
    assert 1 not in window.places


def test_a_text_without_any_token_is_still_a_row():
    tokenizer = trained(
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        normalizer=normalizers.Replace("x", ""),
    )
    (window,) = read_windows([["x"]], tokenizer, max_length=8)
    assert (window.features["input_ids"], window.places) == ([0], {})
    # The space before a word is in its token, and touches the word that vanished.
    assert list(first_tokens(tokenizer, ["fly", "x", "rome"])) == ["fly", "rome"]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [7, 16, 33])
def test_long_texts_lose_no_word_and_every_place_begins_a_word(
    wordpiece, max_length, side, monkeypatch
):
    monkeypatch.setattr(wordpiece, "truncation_side", side)
    generator = torch.Generator().manual_seed(max_length)
    known = [word for topic in tiny.TOPICS.values() for word in topic]
    words = []
    for number in range(90):
        word = known[int(torch.randint(len(known), (1,), generator=generator))]
        words.append(word + "qz"[number % 2] * (number % 4))
    words[40] = "q" * 60  # longer than any of the windows
    windows = read_windows([["my", "card"], words, ["loan"]], wordpiece, max_length=max_length)
    assert [windows[0].row, windows[-1].row] == [0, 2]
    long = [window for window in windows if window.row == 1]
    assert all(len(window.features["input_ids"]) <= max_length for window in windows)
    assert {word for window in long for word in window.places} == set(range(90))
    for window in long:
        tokens = wordpiece.convert_ids_to_tokens(window.features["input_ids"])
        for word, position in window.places.items():
            alone = wordpiece.tokenize(words[word])
            assert tokens[position] == alone[0]
            rest = tokens[position : position + len(alone)]
            assert rest == alone or position + len(alone) > len(tokens) - 1


def test_each_word_is_taken_from_the_window_with_most_around_it():
    def row(number, length, places, num_words):
        features = {"input_ids": [0] * length}
        return Encoded(features, None, number, {"places": places, "num_words": num_words})

    rows = [
        row(0, 8, {0: 1, 1: 3, 2: 6}, 4),
        row(0, 6, {1: 1, 2: 3}, 4),
        row(1, 3, {0: 1}, 1),
    ]
    kept = [torch.tensor([[n * 10.0 + k] for k in range(3)]) for n in range(1, 4)]
    kept = [own[: len(r.extra["places"])] for own, r in zip(kept, rows, strict=True)]
    found = join_windows(kept, rows, torch.tensor([-1.0]))
    # Word 1 has 3 and 1 tokens before its nearer end, word 2 has 1 and 2; no token is word 3.
    assert found[0].flatten().tolist() == [10.0, 11.0, 21.0, -1.0]
    assert found[1].flatten().tolist() == [30.0]
