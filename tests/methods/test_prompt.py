"""The vectors of a prompt, and the networks of P-tuning."""

import pytest
import torch

from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.prompt import Prompt


def built(**settings):
    return Prompt(**settings).build(Place(width=12, kind="embedding"))


def count(layer):
    return sum(p.numel() for p in layer.parameters())


def test_prompt_tuning_trains_the_vectors_themselves():
    layer = built(length=5, deviation=3.0)
    assert torch.equal(layer(), layer.vectors)
    assert count(layer) == 5 * 12
    assert 2 < layer.vectors.std() < 4


def test_an_mlp_equals_its_formula():
    layer = built(length=5, encoder="mlp", inner_width=7).double()
    first, second, third = layer.network[0], layer.network[2], layer.network[4]
    x = torch.relu(layer.vectors @ first.weight.T + first.bias)
    x = torch.relu(x @ second.weight.T + second.bias)
    torch.testing.assert_close(layer(), x @ third.weight.T + third.bias)
    assert count(layer) == 5 * 12 + 2 * 7 * 12 + 7 * 7 + 2 * 7 + 12


def test_an_lstm_joins_the_vectors_in_both_directions():
    layer = built(length=5, encoder="lstm", inner_width=7)
    w, d = 12, 7
    lstm = 8 * d * (w + d + 2) + 8 * d * (3 * d + 2)
    assert count(layer) == 5 * w + lstm + 4 * d * d + 2 * d + 2 * d * w + w
    before = layer().detach()
    layer.vectors.data[2] += 1
    changed = (layer() != before).any(1)
    assert changed.all(), "each vector depends on all others"


@pytest.mark.parametrize("encoder", ["mlp", "lstm"])
def test_folding_keeps_the_vectors(encoder):
    method = Prompt(length=5, encoder=encoder, inner_width=7)
    layer = method.build(Place(width=12))
    plain, folded = method.folded({"embedding": layer})
    assert plain == Prompt(length=5)
    assert torch.equal(folded["embedding"](), layer())
    assert count(folded["embedding"]) == 5 * 12
    assert plain.folded(folded) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "length must be at least 1"),
        ({"encoder": "gru"}, "encoder is one of 'none', 'mlp', 'lstm'"),
        ({"encoder": "mlp", "inner_width": 0}, "inner_width must be at least 1"),
        ({"inner_width": 3}, "without an encoder there is no inner width"),
        ({"deviation": 0.0}, "must be above 0"),
    ],
)
def test_wrong_values(settings, message):
    with pytest.raises(ConfigError, match=message):
        Prompt(**settings)
