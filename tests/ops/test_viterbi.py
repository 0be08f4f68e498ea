"""The best allowed sequence, against all sequences one by one."""

import itertools

import pytest
import torch

from inlay.ops.viterbi import best_path


@pytest.mark.parametrize("seed", range(8))
def test_best_path_is_that_of_a_search_through_all(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(5, 4, generator=generator)
    allowed = torch.rand(4, 4, generator=generator) < 0.6
    allowed[:, 0] = True  # some sequence is always possible
    may_start = torch.tensor([True, False, True, False])

    def total(path):
        if not may_start[path[0]] or not all(allowed[a, b] for a, b in itertools.pairwise(path)):
            return float("-inf")
        return sum(float(scores[step, state]) for step, state in enumerate(path))

    best = max(itertools.product(range(4), repeat=5), key=total)
    assert best_path(scores, allowed, may_start).tolist() == list(best)


def test_one_step_takes_the_best_state_that_may_start():
    scores = torch.tensor([[0.1, 3.0, 2.0]])
    allowed = torch.ones(3, 3, dtype=torch.bool)
    assert best_path(scores, allowed, torch.tensor([True, False, True])).tolist() == [2]


def test_the_first_of_equal_states_is_taken():
    allowed = torch.ones(3, 3, dtype=torch.bool)
    path = best_path(torch.zeros(4, 3), allowed, torch.ones(3, dtype=torch.bool))
    assert path.tolist() == [0, 0, 0, 0]
