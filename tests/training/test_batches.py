"""The order of batches: every row once, like lengths together, decided by seed and epoch."""

import random

import pytest

from inlay.training.batches import batch_order, count_steps
from inlay.training.config import TrainConfig

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


KINDS = random.Random(7).choices(range(3), weights=(9, 3, 1), k=211)
SIZES = [KINDS.count(kind) for kind in range(3)]


def epochs_of(counts, *, number, size=8, seed=5):
    lengths = LENGTHS[: len(KINDS)]
    return [
        batch_order(lengths, batch_size=size, seed=seed, epoch=epoch, kinds=KINDS, counts=counts)
        for epoch in range(number)
    ]


@pytest.mark.parametrize("counts", [None, SIZES])
def test_batches_hold_one_kind_and_every_row_once(counts):
    (batches,) = epochs_of(counts, number=1)
    assert sorted(row for batch in batches for row in batch) == list(range(len(KINDS)))
    assert all(len({KINDS[row] for row in batch}) == 1 for batch in batches)
    assert len(batches) == sum(-(-size // 8) for size in SIZES)
    order = [KINDS[batch[0]] for batch in batches]
    assert order != sorted(order)  # kinds come mixed


@pytest.mark.parametrize(
    "counts", [[29, 60, 2], [SIZES[0] + 1, SIZES[1] - 1, 47], [1, 3 * SIZES[1], SIZES[2]]]
)
def test_no_row_is_used_twice_more_than_another_of_its_kind(counts):
    used = [0] * len(KINDS)
    for batches in epochs_of(counts, number=12):
        rows = [row for batch in batches for row in batch]
        assert [sum(KINDS[row] == kind for row in rows) for kind in range(3)] == counts
        assert all(len({KINDS[row] for row in batch}) == 1 for batch in batches)
        assert len(batches) == sum(-(-count // 8) for count in counts)
        for row in rows:
            used[row] += 1
        for kind in range(3):
            own = [number for row, number in enumerate(used) if KINDS[row] == kind]
            assert max(own) - min(own) <= 1


def test_what_is_drawn_is_decided_by_seed_and_epoch():
    counts = [29, 60, 2]
    random.seed(1)
    first = epochs_of(counts, number=3)
    random.seed(2)
    assert epochs_of(counts, number=3) == first
    assert epochs_of(counts, number=3, seed=6) != first
    assert len({str(batches) for batches in first}) == 3


def test_rounds_over_the_rows_are_shuffled_anew():
    first, second, third, fourth = (
        {
            row
            for batch in batch_order(LENGTHS[:40], batch_size=8, seed=2, epoch=epoch, counts=[20])
            for row in batch
        }
        for epoch in range(4)
    )
    assert first | second == third | fourth == set(range(40))
    assert first not in (third, fourth)


def test_steps_are_counted_before_training():
    def count(*rows, **settings):
        return count_steps(TrainConfig(data="a.csv", **settings), rows)

    assert count(97, batch_size=16, epochs=3) == 21
    assert count(97, batch_size=16, epochs=3, gradient_accumulation=4) == 6
    assert count(1, epochs=2) == 2
    assert count(17, 16, 3, batch_size=16, epochs=2) == 8, "a batch holds rows of one kind"
