"""Keys of rows: the same for what a base would compute alike, others for all else."""

import hashlib

import pytest
import torch

from inlay.training.row_keys import row_keys
from tests.training.padded_ids import ids


def test_a_row_is_the_same_whatever_it_is_padded_to():
    short, long = row_keys(ids([5, 6], [7]), "all"), row_keys(ids([7], [5, 6], length=3), "all")
    assert short.keys == long.keys[::-1]
    assert (short.lengths, short.padded, long.padded) == ([2, 1], 8, 3)
    other = row_keys(ids([5, 9]), "all")
    assert other.keys[0] not in short.keys
    left = {"input_ids": torch.tensor([[0, 5, 6]]), "attention_mask": torch.tensor([[0, 1, 1]])}
    assert row_keys(left, "all").keys[0] not in short.keys, "positions may be counted from the left"


def test_what_else_a_pass_is_given_counts():
    plain, typed = (
        ids([5, 6]),
        {**ids([5, 6]), "token_type_ids": torch.ones(1, 8, dtype=torch.long)},
    )
    assert row_keys(plain, "all").keys != row_keys(typed, "all").keys
    assert row_keys(plain, "all").keys != row_keys({**plain, "use_cache": False}, "all").keys
    assert row_keys({**plain, "past_key_values": object()}, "all") is None
    assert row_keys({"use_cache": False}, "all") is None
    assert row_keys({**plain, "other": torch.ones(3, 2)}, "all") is None
    pixels = row_keys({"pixel_values": torch.randn(2, 3, 8, 8)}, "all")
    assert (len(pixels.keys), pixels.lengths) == (2, None)


def test_an_encoder_does_not_depend_on_the_decoder():
    pair = {**ids([5, 6]), "labels": torch.tensor([[3, 4, -100]])}
    other = {**ids([5, 6]), "labels": torch.tensor([[9, 4, -100]])}
    assert row_keys(pair, "encoder").keys == row_keys(other, "encoder").keys
    assert row_keys(pair, "decoder").keys != row_keys(other, "decoder").keys
    decoder = row_keys(pair, "decoder")
    assert (decoder.lengths, decoder.padded) == ([2], 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_the_key_is_the_hash_of_names_shapes_dtypes_and_bytes(dtype):
    """Written out, as caches of older versions are found by it."""
    given = {**ids([5, 6], [7]), "other": torch.tensor([[[1, 0, 2]] * 8] * 2).to(dtype)}
    expected = []
    for row, end in enumerate((2, 1)):
        digest = hashlib.blake2b(hashlib.blake2b(b"[]").digest(), digest_size=16)
        for name in ("attention_mask", "input_ids", "other"):
            part = given[name][row, :end]
            digest.update(f"{name}{tuple(part.shape)}{part.dtype}".encode())
            digest.update(part.contiguous().view(torch.uint8).numpy().tobytes())
        expected.append(digest.digest())
    assert row_keys(given, "all").keys == expected


def test_rows_that_are_single_numbers_are_told_apart():
    found = row_keys({"speaker": torch.tensor([3, 4, 3])}, "all")
    assert found.keys[0] == found.keys[2] != found.keys[1]
