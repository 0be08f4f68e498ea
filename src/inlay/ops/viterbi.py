"""The most probable sequence of states among those that are allowed (Viterbi 1967)."""

import torch
from torch import Tensor


def best_path(scores: Tensor, allowed: Tensor, may_start: Tensor) -> Tensor:
    """Return the states with the greatest sum of scores.

    Args:
        scores: `(steps, states)`, log-probabilities; at least one step.
        allowed: `(states, states)`, whether the second state may follow the first.
        may_start: `(states,)`, whether a state may be the first.

    Returns:
        `(steps,)`, the number of a state for each step.
    """
    scores = scores.double()
    barrier = torch.zeros(allowed.shape, dtype=torch.double).masked_fill(~allowed, -torch.inf)
    best = scores[0].masked_fill(~may_start, -torch.inf)
    came_from = []
    for step in scores[1:]:
        ways, sources = (best.unsqueeze(1) + barrier).max(dim=0)
        came_from.append(sources)
        best = ways + step
    path = [int(best.argmax())]
    for sources in reversed(came_from):
        path.append(int(sources[path[-1]]))
    return torch.tensor(path[::-1])
