"""AdapterFusion at one site."""

import pytest
import torch

from inlay import Bottleneck, Fusion, LoRA
from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.ops import naive
from inlay.ops.fusion import LowRankUpdates
from tests.contracts import tiny


def layer(width=7, **settings):
    made = Fusion(**settings).build(Place(width=width), 3)
    tiny.stir(made)
    return made.double()


def test_equals_the_papers_equation():
    fusion = layer(temperature=1.3)
    x, updates = torch.randn(5, 7).double(), torch.randn(3, 5, 7).double()
    expected = naive.fuse(
        x, updates, fusion.query.weight, fusion.query.bias, fusion.key.weight,
        torch.zeros(7).double(), fusion.value.weight, 1.3,
    )  # fmt: skip
    combined = fusion(x, updates)
    torch.testing.assert_close(combined.update, expected, rtol=1e-10, atol=1e-10)
    assert combined.loss is None


def test_the_query_may_be_what_adapters_read():
    assert layer().reads == "x"
    assert layer(query="norm(x+r)").reads == "norm(x+r)"
    with pytest.raises(ConfigError, match="query is one of 'x', 'r'"):
        Fusion(query="y")


@pytest.mark.parametrize("tokens", [1, 20])
def test_the_query_may_be_added(tokens):
    fusion, more = layer(query="r"), layer(query="r", adds_query=True)
    more.load_state_dict(fusion.state_dict())
    x, hidden, up = (torch.randn(1, *size).double() for size in ((tokens, 7), (tokens, 4), (7, 4)))
    updates = LowRankUpdates(hidden, up[0], torch.randn(2, 7).double(), (3, 1))
    plain = torch.randn(2, 1, tokens, 7).double()
    for run in (lambda own: own(x, plain), lambda own: own.forward_low_rank(x, updates)):
        torch.testing.assert_close(run(more).update, run(fusion).update + x)
        torch.testing.assert_close(run(more).weights, run(fusion).weights)


def test_starts_as_the_identity_and_counts_as_said():
    fresh = Fusion().build(Place(width=6), 2)
    assert torch.allclose(fresh.value.weight, torch.eye(6), atol=1e-5)
    assert not torch.equal(fresh.value.weight, torch.eye(6))
    assert sum(p.numel() for p in fresh.parameters()) == 3 * 36 + 6


def test_the_penalty_is_the_distance_from_the_identity():
    fusion = layer(regularisation=0.2)
    off = fusion.value.weight - torch.eye(7).double()
    torch.testing.assert_close(fusion.penalty(), 0.2 * (off * off).sum())
    fusion.penalty().backward()
    torch.testing.assert_close(fusion.value.weight.grad, 0.4 * off)


@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 20])
def test_few_and_many_tokens(tokens):
    """Folding pays for many tokens only; the numbers are the same."""
    fusion = layer(temperature=0.6)
    up, bias = torch.randn(7, 4).double(), torch.randn(2, 7).double()
    x, hidden = torch.randn(1, tokens, 7).double(), torch.randn(1, tokens, 4).double()
    plain = torch.stack([hidden[..., :3] @ up[:, :3].T, hidden[..., 3:] @ up[:, 3:].T])
    expected = fusion(x, plain + bias.view(2, 1, 1, 7))
    fast = fusion.forward_low_rank(x, LowRankUpdates(hidden, up, bias, (3, 1)))
    torch.testing.assert_close(fast.update, expected.update, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fast.weights, expected.weights, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "method",
    [LoRA(rank=2, alpha=5.0), Bottleneck(inner_width=3, scaling=0.7),
     Bottleneck(inner_width=3, scaling="channel", norm_before=True, hidden_layers=2),
     Bottleneck(inner_width=3, scaling="learned")],
    ids=str,
)  # fmt: skip
def test_the_two_factors_of_a_layer_give_its_update(method):
    made = method.build(Place(width=6, in_width=6)).double()
    tiny.stir(made)
    x, outputs = torch.randn(4, 6).double(), torch.randn(4, 6).double()
    form = made.low_rank()
    update = form.reduce(x) @ form.up.T + (0 if form.bias is None else form.bias)
    torch.testing.assert_close(outputs + update, made(x, outputs), rtol=1e-12, atol=1e-12)


def test_layers_without_two_factors_say_so():
    place = Place(width=6)
    assert Bottleneck(norm_after=True).build(place).low_rank() is None
    dropping = Bottleneck(dropout=0.5).build(place)
    assert dropping.low_rank() is None
    assert dropping.eval().low_rank() is not None


def test_wrong_values():
    with pytest.raises(ConfigError, match=r"Fusion\(temperature=0\): must be above 0"):
        Fusion(temperature=0)
    with pytest.raises(ConfigError, match="regularisation must be at least 0"):
        Fusion(regularisation=-1)
