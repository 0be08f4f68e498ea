"""One vector from a text: pooling, encoding and padding."""

import pytest
import torch

from inlay.data.rows import Example
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.base import Batch, Encoded
from inlay.tasks.pooled import (
    PooledHead,
    encode_texts,
    known_targets,
    mean_pooled,
    stacked_targets,
)
from tests import tiny


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_base(resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp()))))[1]


def example(text, pair=None):
    return Example(text, pair, "x", "f", 1)


def test_the_mean_is_over_real_positions():
    hidden = torch.randn(3, 5, 7, dtype=torch.double)
    lengths = [5, 2, 1]
    mask = torch.tensor([[1] * n + [0] * (5 - n) for n in lengths])
    for row, length in enumerate(lengths):
        expected = hidden[row, :length].mean(0)
        assert torch.allclose(mean_pooled(hidden, mask)[row], expected, atol=1e-12)
    assert torch.equal(mean_pooled(hidden, torch.zeros(3, 5)), torch.zeros(3, 7).double())


def test_parameters_are_those_of_one_linear_map():
    head = PooledHead(width=7, num_outputs=3, dropout=0.2)
    assert sum(p.numel() for p in head.parameters()) == 7 * 3 + 3


def test_texts_and_pairs_are_cut_to_the_length(tokenizer):
    texts = encode_texts([example("my card is lost"), example("a")], tokenizer, max_length=4)
    assert [len(row["input_ids"]) for row in texts] == [4, 3]
    pair = encode_texts([example("my card", "my loan")], tokenizer, max_length=30)
    assert pair[0]["input_ids"] == tokenizer("my card", "my loan")["input_ids"]
    assert encode_texts([], tokenizer, max_length=4) == []


def test_texts_and_pairs_may_be_mixed(tokenizer):
    rows = [example("my card"), example("my card", "my loan"), example("a")]
    mixed = encode_texts(rows, tokenizer, max_length=30)
    for row, own in zip(rows, mixed, strict=True):
        assert own == encode_texts([row], tokenizer, max_length=30)[0]


def test_targets_are_known_of_all_rows_or_of_none():
    rows = [Encoded({"input_ids": [1]}, target) for target in (1, 0)]
    assert known_targets(rows).tolist() == [1, 0]
    assert known_targets([*rows, Encoded({"input_ids": [1]}, None)]) is None
    with pytest.raises(ValueError, match="a batch without targets has no loss"):
        stacked_targets(Batch({}, None))
