"""A gate at one site."""

import pytest
import torch

from inlay import Gate
from inlay.errors import ConfigError
from inlay.methods.base import Place
from tests.contracts import tiny


def layer(number=3, **settings):
    made = Gate(**settings).build(Place(width=5), number).double()
    tiny.stir(made)
    made.map.weight.data.mul_(20)
    return made


def test_soft_weights_by_hand():
    gate = layer()
    x, updates = torch.randn(2, 4, 5).double(), torch.randn(3, 2, 4, 5).double()
    combined = gate(x, updates)
    for row in range(2):
        for token in range(4):
            scores = gate.map.weight @ x[row, token] + gate.map.bias
            weights = scores.exp() / scores.exp().sum()
            torch.testing.assert_close(combined.weights[row, token], weights)
            expected = sum(w * u[row, token] for w, u in zip(weights, updates, strict=True))
            torch.testing.assert_close(combined.update[row, token], expected)


def test_top_k_by_hand():
    gate = layer(top_k=2)
    x, updates = torch.randn(1, 6, 5).double(), torch.randn(3, 1, 6, 5).double()
    combined = gate(x, updates)
    soft = gate.map(x).softmax(-1)
    for token in range(6):
        worst = soft[0, token].argmin()
        kept = soft[0, token].clone()
        kept[worst] = 0
        torch.testing.assert_close(combined.weights[0, token], kept / kept.sum())


def test_one_for_the_sequence_leaves_padding_out():
    gate = layer(per="sequence")
    x, updates = torch.randn(2, 4, 5).double(), torch.randn(3, 2, 4, 5).double()
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    combined = gate(x, updates, mask)
    for row, length in enumerate((4, 2)):
        expected = gate.map(x[row, :length].mean(0)).softmax(-1)
        torch.testing.assert_close(combined.weights[row, 0], expected)
    mixed = torch.einsum("bn,nbtd->btd", combined.weights[:, 0], updates)
    torch.testing.assert_close(combined.update, mixed)


def test_the_balance_is_that_of_the_papers_equation():
    for top_k in (1, 2, None):
        gate = layer(top_k=top_k, balance=0.3)
        x, updates = torch.randn(1, 6, 5).double(), torch.randn(3, 1, 6, 5).double()
        mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
        soft = gate.map(x[0, :4]).softmax(-1)
        if top_k is None:
            share = soft.mean(0)
        else:
            chosen = torch.zeros(3).double()
            for token in soft:
                chosen[token.topk(top_k).indices] += 1 / (4 * top_k)
            share = chosen
        expected = 0.3 * 3 * sum(share * soft.mean(0))
        torch.testing.assert_close(gate(x, updates, mask).loss, expected)
    even = layer(balance=0.3)
    even.map.weight.data.zero_()
    even.map.bias.data.zero_()
    torch.testing.assert_close(even(x, updates).loss, torch.tensor(0.3).double())
    assert even.penalty() == 0


def test_every_weight_learns():
    gate = layer(top_k=2)
    x, updates = torch.randn(2, 4, 5).double(), torch.randn(3, 2, 4, 5).double()
    combined = gate(x, updates)
    (combined.update.square().sum() + combined.loss).backward()
    assert all(p.grad.abs().min() > 0 for p in gate.parameters())


def test_wrong_values():
    with pytest.raises(ConfigError, match="per='word'.*'token', 'sequence'"):
        Gate(per="word")
    with pytest.raises(ConfigError, match="top_k must be at least 1"):
        Gate(top_k=0)
    with pytest.raises(ConfigError, match="balance must be at least 0"):
        Gate(balance=-1)
    with pytest.raises(ConfigError, match=r"Gate\(top_k=4\): there are only 3 adapters"):
        Gate(top_k=4).build(Place(width=5), 3)
    with pytest.raises(ConfigError, match="positions see earlier ones only; use per='token'"):
        Gate(per="sequence").build(Place(width=5, causal=True), 3)
    with pytest.raises(ConfigError, match="has no sequences, only 2-dimensional"):
        layer(per="sequence")(torch.randn(6, 5).double(), torch.randn(3, 6, 5).double())
