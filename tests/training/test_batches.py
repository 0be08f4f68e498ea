"""The order of batches: every row once, like lengths together, decided by seed and epoch."""

import random

import pytest

from inlay.training.batches import batch_order

LENGTHS = random.Random(4).choices(range(3, 91), k=1037)


@pytest.mark.parametrize(("rows", "size"), [(1037, 8), (1037, 1), (7, 16), (1, 4), (64, 16)])
def test_every_row_comes_once_in_batches_of_the_right_size(rows, size):
    batches = batch_order(LENGTHS[:rows], batch_size=size, seed=3, epoch=1)
    assert sorted(row for batch in batches for row in batch) == list(range(rows))
    sizes = sorted(len(batch) for batch in batches)
    assert sizes[1:] == [size] * (len(batches) - 1)
    assert len(batches) == -(-rows // size)


def test_order_is_decided_by_seed_and_epoch():
    def order(seed, epoch):
        return batch_order(LENGTHS, batch_size=8, seed=seed, epoch=epoch)

    random.seed(1)
    first = order(1, 0)
    random.seed(2)
    assert order(1, 0) == first
    found = {str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(found) == 9


def test_rows_of_like_length_come_together():
    batches = batch_order(LENGTHS, batch_size=8, seed=1, epoch=0)
    padded = sum(max(LENGTHS[row] for row in batch) * len(batch) for batch in batches)
    assert padded < 1.1 * sum(LENGTHS)


def test_long_batches_come_at_any_time():
    batches = batch_order(LENGTHS, batch_size=8, seed=1, epoch=0)
    means = [sum(LENGTHS[row] for row in batch) / len(batch) for batch in batches]
    half = len(means) // 2
    early, late = sum(means[:half]) / half, sum(means[half:]) / (len(means) - half)
    assert means != sorted(means)
    assert abs(early - late) < 15


def test_no_rows_give_no_batches():
    assert batch_order([], batch_size=4, seed=1, epoch=0) == []
