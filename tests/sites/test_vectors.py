"""Vectors in front of words, against rows that are put together one by one."""

import pytest
import torch

from inlay.sites.vectors import Vectors

LENGTHS = [2, 0, 3]


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture
def vectors():
    torch.manual_seed(1)
    return Vectors(drawn(3, 3, 4), torch.tensor(LENGTHS))


def test_rows_begin_with_their_own_vectors_and_words(vectors):
    words = drawn(3, 5, 4)
    whole = vectors.before(words)
    assert whole.shape == (3, 8, 4)
    for row, length in enumerate(LENGTHS):
        alone = torch.cat([vectors.vectors[row, :length], words[row]])
        assert torch.equal(whole[row, : length + 5], alone)
    assert torch.equal(vectors.without(whole, 1, 5), words)


def test_padding_is_behind_the_first_words(vectors):
    mask = torch.tensor([[0, 1, 1], [1, 1, 0], [1, 1, 1]])
    assert vectors.mask(mask, 3).tolist() == [
        [1, 1, 0, 1, 1, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]
    ]  # fmt: skip
    # Two more words have come since.
    assert vectors.mask(torch.cat([mask, torch.ones(3, 2).long()], dim=1), 3).tolist() == [
        [1, 1, 0, 1, 1, 0, 1, 1], [1, 1, 0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1]
    ]  # fmt: skip


def test_numbers_and_types(vectors):
    numbers = vectors.positions(torch.arange(3)[None], None, is_first=True)
    for row, length in enumerate(LENGTHS):
        assert numbers[row, : length + 3].tolist() == list(range(length + 3))
    assert numbers.max() < 6, "no number of padding is beyond a table"
    assert vectors.positions(torch.tensor([[7]]), None, is_first=False).tolist() == [[9], [7], [10]]
    types = vectors.types(torch.tensor([[0, 1, 1]] * 3))
    assert types.tolist() == [[0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]]


def test_numbers_begin_where_those_of_a_row_did(vectors):
    """Padding's own number, lower than a word's here, does not count; nor does its place."""
    words = torch.tensor([[1, 1, 2, 3], [2, 3, 4, 1], [1, 1, 1, 1]])
    found = vectors.positions(words, (words != 1).long(), is_first=True)
    assert found[0, :6].tolist() == [2, 3, 3, 3, 4, 5], "two vectors, padding, two words"
    assert found[1, :4].tolist() == [2, 3, 4, 1]
    assert found.max() < 8
    one = Vectors(drawn(2, 4)).positions(words[:1], torch.tensor([[0, 1, 1, 1]] * 2), is_first=True)
    assert one.tolist() == [[1, 2, 3, 3, 4, 5]] * 2


def test_a_mask_or_types_of_one_row_stand_for_all_rows(vectors):
    one, types = torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 1]])
    assert torch.equal(vectors.mask(one, 3), vectors.mask(one.expand(3, -1), 3))
    assert torch.equal(vectors.types(types), vectors.types(types.expand(3, -1)))


def test_without_them_in_two_dimensions(vectors):
    weights = drawn(3, 2, 8, 8)
    found = vectors.without(vectors.without(weights, 2, 5), 3, 5)
    for row, length in enumerate(LENGTHS):
        own = slice(length, length + 5)
        assert torch.equal(found[row], weights[row, :, own, own])


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_as_many_for_all_rows(shape):
    vectors, words = Vectors(drawn(*shape)), drawn(2, 5, 4)
    whole = vectors.before(words)
    assert torch.equal(whole[:, :3], vectors.vectors.expand(2, 3, 4))
    assert torch.equal(vectors.without(whole, 1, 5), words)
    assert vectors.mask(torch.tensor([[0, 1]] * 2), 2).tolist() == [[1, 1, 1, 0, 1]] * 2
    words = torch.tensor([[4, 5]])
    assert vectors.positions(words, None, is_first=True).tolist() == [[4, 5, 6, 7, 8]]
    assert vectors.positions(words, None, is_first=False).tolist() == [[7, 8]]
