"""Both fast forms of fusion equal the form of the paper, outputs and gradients."""

import pytest
import torch

from inlay.ops import naive
from inlay.ops.fusion import FusionWeights, LowRankUpdates, fold, fuse, fuse_folded, fuse_low_rank

RANKS = (3, 1, 5)
TOKENS, WIDTH, TEMPERATURE = 6, 7, 1.7


def parts():
    generator = torch.Generator().manual_seed(4)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    return {
        "x": draw(TOKENS, WIDTH),
        "hidden": draw(TOKENS, sum(RANKS)),
        "up": draw(WIDTH, sum(RANKS)),
        "bias": draw(3, WIDTH),
        "query": draw(WIDTH, WIDTH),
        "query_bias": draw(WIDTH),
        "key": draw(WIDTH, WIDTH),
        "value": draw(WIDTH, WIDTH),
    }


def updates_of(p):
    pieces = zip(p["hidden"].split(RANKS, -1), p["up"].split(RANKS, -1), p["bias"], strict=True)
    return torch.stack([hidden @ up.T + bias for hidden, up, bias in pieces])


def slow(p):
    key_bias = torch.linspace(-1, 1, WIDTH, dtype=torch.float64)
    return naive.fuse(
        p["x"], updates_of(p), p["query"], p["query_bias"], p["key"], key_bias, p["value"],
        TEMPERATURE,
    )  # fmt: skip


def weights_of(p):
    return FusionWeights(p["query"], p["query_bias"], p["key"], p["value"])


def folded(p):
    fixed = fold(p["up"], p["bias"], RANKS, weights_of(p))
    return fuse_folded(p["x"], p["hidden"], fixed, TEMPERATURE)


FAST = {
    "any updates": lambda p: fuse(p["x"], updates_of(p), weights_of(p), TEMPERATURE),
    "low rank": lambda p: fuse_low_rank(
        p["x"], LowRankUpdates(p["hidden"], p["up"], p["bias"], RANKS), weights_of(p), TEMPERATURE
    ),
    "folded": folded,
}


@pytest.mark.parametrize("name", FAST)
def test_equals_its_naive_twin(name):
    found = []
    for function in (slow, lambda p: FAST[name](p)[0]):
        p = parts()
        result = function(p)
        (result * torch.arange(result.numel()).view_as(result)).sum().backward()
        found.append({"result": result, **{key: value.grad for key, value in p.items()}})
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-10, atol=1e-10)


def test_the_attention_is_a_mean_over_adapters():
    p = parts()
    attentions = [function(p)[1] for function in FAST.values()]
    for attention in attentions:
        assert attention.shape == (TOKENS, 3)
        torch.testing.assert_close(attention, attentions[0], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(attention.sum(-1), torch.ones(TOKENS, dtype=torch.float64))


def test_more_dimensions():
    p = {key: value.detach() for key, value in parts().items()}
    flat = folded(p)[0]
    p |= {"x": p["x"].view(2, 3, -1), "hidden": p["hidden"].view(2, 3, -1)}
    torch.testing.assert_close(folded(p)[0].view(6, -1), flat)
