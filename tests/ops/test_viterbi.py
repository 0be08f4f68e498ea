"""The best path against every path there is."""

import itertools

import pytest
import torch

from inlay.ops.viterbi import best_path


@pytest.mark.parametrize("seed", range(12))
def test_the_path_is_the_best_of_all(seed):
    generator = torch.Generator().manual_seed(seed)
    steps, states = 1 + seed % 5, 2 + seed % 3
    scores = torch.randn(steps, states, generator=generator)
    allowed = torch.rand(states, states, generator=generator) > 0.3
    allowed.fill_diagonal_(True)
    may_start = torch.ones(states, dtype=torch.bool)
    may_start[1] = seed % 2 == 0

    def total(path):
        is_open = all(bool(allowed[a, b]) for a, b in itertools.pairwise(path))
        if not is_open or not may_start[path[0]]:
            return float("-inf")
        return sum(float(scores[step, state]) for step, state in enumerate(path))

    best = max(itertools.product(range(states), repeat=steps), key=total)
    assert tuple(best_path(scores, allowed, may_start).tolist()) == best


def test_what_is_not_allowed_is_never_taken():
    scores = torch.tensor([[5.0, 0.0], [5.0, 0.0]])
    allowed = torch.tensor([[False, True], [True, True]])
    assert best_path(scores, allowed, torch.tensor([True, True])).tolist() in ([0, 1], [1, 0])
    assert best_path(scores, allowed, torch.tensor([False, True])).tolist() == [1, 0]
