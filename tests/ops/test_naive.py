"""The twins themselves, on cases that can be worked out by hand."""

import torch

from inlay.ops.naive import depthwise, low_rank, ties


def test_low_rank_by_hand():
    x, a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[5.0], [6.0]])
    assert low_rank(x, a, b, 0.5).tolist() == [[27.5, 33.0]]


def test_depthwise_by_hand():
    x = torch.tensor([[[1.0], [2.0], [4.0]]])
    kernel, bias = torch.tensor([[100.0, 10.0, 1.0]]), torch.tensor([0.5])
    assert depthwise(x, kernel, bias, causal=False).flatten().tolist() == [12.5, 124.5, 240.5]
    assert depthwise(x, kernel, bias, causal=True).flatten().tolist() == [1.5, 12.5, 124.5]


def test_ties_by_hand():
    a, b = torch.tensor([3.0, 1.0, -2.0, 0.5]), torch.tensor([1.0, -4.0, 2.0, 0.1])
    assert ties([a, b], (1.0, 1.0), 0.75).tolist() == [2.0, -4.0, 0.0, 0.0]
    assert ties([a, b], (3.0, 1.0), 0.75).tolist() == [2.5, -4.0, -2.0, 0.0]
