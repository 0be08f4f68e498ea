"""Each way against the paper's steps, entry by entry."""

import pytest
import torch

from inlay.ops import naive
from inlay.ops.blending import (
    dare,
    nearest_low_rank,
    nearest_low_rank_of_product,
    ties,
    trim,
    weighted_sum,
)


def drawn(number=3, shape=(5, 7), seed=4):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(number)]


def test_weighted_sum():
    a, b = drawn(2)
    assert torch.equal(weighted_sum([a], [1.0]), a)
    torch.testing.assert_close(weighted_sum([a, b], [0.6, -1.5]), 0.6 * a - 1.5 * b)


def test_trim_keeps_the_largest():
    tensor = torch.tensor([[0.1, -3.0, 2.0], [-0.5, 0.0, 1.0]])
    assert trim(tensor, 0.5).tolist() == [[0.0, -3.0, 2.0], [0.0, 0.0, 1.0]]
    assert trim(tensor, 1e-9).tolist() == [[0.0, -3.0, 0.0], [0.0, 0.0, 0.0]]
    assert torch.equal(trim(tensor, 1.0), tensor)
    assert trim(torch.tensor([2.0, -2.0, 1.0]), 0.34).tolist() == [2.0, -2.0, 0.0]


@pytest.mark.parametrize("density", [0.2, 0.55, 1.0])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.6, 0.4, -0.3)])
def test_ties_is_the_papers_three_steps(density, weights):
    tensors = drawn()
    found = ties(tensors, weights, density)
    torch.testing.assert_close(found, naive.ties(tensors, weights, density))
    assert (found != 0).any()
    if density == 0.2:
        assert (found == 0).any()


def test_ties_by_hand():
    a, b, c = torch.tensor([[3.0, 1.0, 1.0], [1.0, -4.0, -1.0], [0.0, 0.0, 0.0]]).double()
    assert ties([a, b, c], [1, 1, 1], 1.0).tolist() == [2.0, -4.0, 0.0]
    assert ties([a, b, c], [2, 1, 1], 1.0).tolist() == [(2 * 3 + 1) / 3, -4.0, 1.0]


def test_ties_of_one_tensor_is_that_tensor():
    (a,) = drawn(1)
    torch.testing.assert_close(ties([a], [0.3], 1.0), a)


def test_dare_keeps_the_mean_and_its_seed():
    a, b = drawn(2)
    assert torch.equal(dare([a, b], [0.6, 0.4], 0.3, [1, 2]), dare([a, b], [0.6, 0.4], 0.3, [1, 2]))
    assert not torch.equal(dare([a, b], [1, 1], 0.3, [1, 2]), dare([a, b], [1, 1], 0.3, [1, 3]))
    assert torch.equal(dare([a, b], [0.6, 0.4], 1.0, [1, 2]), weighted_sum([a, b], [0.6, 0.4]))
    one = dare([a], [1.0], 0.25, [7])
    kept = one != 0
    assert 0 < kept.sum() < a.numel()
    torch.testing.assert_close(one[kept], 4 * a[kept])
    mean = torch.stack([dare([a], [1.0], 0.5, [seed]) for seed in range(3000)]).mean(0)
    torch.testing.assert_close(mean, a, atol=0.25, rtol=0)


@pytest.mark.parametrize("shape", [(9, 6), (6, 9)])
@pytest.mark.parametrize("rank", [1, 4, 6, 8])
def test_nearest_low_rank(shape, rank):
    (matrix,) = drawn(1, shape)
    fit = nearest_low_rank(matrix, rank)
    assert fit.up.shape == (shape[0], rank)
    assert fit.down.shape == (rank, shape[1])
    values = torch.linalg.svdvals(matrix)
    lost = (matrix - fit.up @ fit.down).square().sum()
    assert fit.lost == pytest.approx(float(values[rank:].square().sum()), abs=1e-12)
    assert fit.lost == pytest.approx(float(lost), abs=1e-12)
    assert fit.total == pytest.approx(float(matrix.square().sum()))


@pytest.mark.parametrize("inner", [3, 11])
@pytest.mark.parametrize("rank", [1, 3, 7])
def test_the_product_need_not_be_formed(inner, rank):
    (up,), (down,) = drawn(1, (8, inner)), drawn(1, (inner, 5), seed=6)
    fit, full = nearest_low_rank_of_product(up, down, rank), nearest_low_rank(up @ down, rank)
    torch.testing.assert_close(fit.up @ fit.down, full.up @ full.down)
    assert fit.up.shape == full.up.shape
    assert fit[2:] == pytest.approx(full[2:], abs=1e-10)


def test_nothing_is_of_every_rank():
    fit = nearest_low_rank_of_product(torch.zeros(4, 2), torch.zeros(2, 3), 2)
    assert torch.equal(fit.up @ fit.down, torch.zeros(4, 3))
    assert (fit.lost, fit.total) == (0.0, 0.0)
