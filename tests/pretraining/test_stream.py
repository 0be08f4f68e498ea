"""Documents as one stream of tokens, and the sequences it is cut into."""

import pytest
import torch

from inlay.pretraining.objectives import OBJECTIVES, Vocabulary, Window
from inlay.pretraining.stream import Stream, encode, order_of
from inlay.pretraining.tokenizer import SPECIALS, train_tokenizer
from tests.pretraining.text import documents


@pytest.mark.parametrize(
    "objective, before, after",
    [("mlm", [], ["[SEP]"]), ("clm", ["<s>"], ["</s>"]), ("denoise", [], ["</s>"])],
)
def test_documents_stand_between_special_tokens(objective, before, after):
    texts = documents(1003)  # more than are encoded at once
    tokenizer = train_tokenizer(
        texts, kind="bpe", specials=SPECIALS[objective], vocab_size=500, max_length=8
    )
    tokens = encode(texts, tokenizer, OBJECTIVES[objective](Vocabulary(tokenizer)))
    expected = [
        token for text in texts for token in [*before, *tokenizer.tokenize(text), *after]
    ]  # fmt: skip
    assert tokens.dtype == torch.int32
    assert tokenizer.convert_ids_to_tokens(tokens.tolist()) == expected
    assert len(encode([], tokenizer, OBJECTIVES[objective](Vocabulary(tokenizer)))) == 0


@pytest.mark.parametrize("number", [0, 1, 2, 6, 7, 8, 13, 14, 15, 21])
def test_a_stream_is_cut_without_a_gap(number):
    tokens = torch.arange(number, dtype=torch.int32)
    whole = Stream(tokens, Window(size=7, stride=7), keeps_rest=False)
    assert len(whole) == number // 7
    assert [len(whole.row(index)) for index in range(len(whole))] == [7] * len(whole)
    rest = Stream(tokens, Window(size=7, stride=7), keeps_rest=True)
    joined = torch.cat([*rest.rows(range(len(rest))), tokens.new_zeros(0)])
    lost = 1 if number % 7 == 1 else 0  # one token alone asks for nothing
    assert joined.tolist() == list(range(number - lost))
    overlapping = Stream(tokens, Window(size=7, stride=6), keeps_rest=True)
    asked = [token for row in overlapping.rows(range(len(overlapping))) for token in row[1:]]
    assert asked == list(range(1, number))


def test_the_order_is_a_function_of_seed_and_epoch():
    order = order_of(50, seed=3, epoch=2)
    assert sorted(order) == list(range(50))
    assert order == order_of(50, seed=3, epoch=2)
    assert order not in (order_of(50, seed=3, epoch=1), order_of(50, seed=4, epoch=2))
