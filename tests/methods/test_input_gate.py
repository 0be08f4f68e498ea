"""Gates that read what an adapter reads, for words, sequences, or as AdapterHub has them."""

import pytest
import torch

from inlay.errors import AdapterError, ConfigError
from inlay.methods.base import Place
from inlay.methods.bottleneck import Bottleneck
from inlay.methods.input_gate import InputGate, made_gate
from inlay.methods.lora import LoRA
from inlay.methods.prefix import Prefix

X = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
MASK = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])


def gate(kind, number=1):
    made = InputGate(8, number, kind=kind).double()
    torch.manual_seed(4)
    for parameter in made.parameters():
        parameter.data = torch.randn_like(parameter)
    return made


def by_hand(made, row, position):
    return torch.sigmoid(made.linear.weight @ X[row, position] + made.linear.bias)


def test_a_gate_for_each_word():
    made = gate("token")
    for row in range(2):
        for position in range(5):
            torch.testing.assert_close(made(X)[row, position], by_hand(made, row, position))
    assert not made.sees_neighbours


def test_a_gate_for_each_sequence_is_the_mean_over_its_words():
    made = gate("sequence", number=3)
    found = made(X, MASK)
    assert found.shape == (2, 1, 3)
    for row, length in enumerate((3, 5)):
        mean = sum(by_hand(made, row, position) for position in range(length)) / length
        torch.testing.assert_close(found[row, 0], mean)
    torch.testing.assert_close(made(X)[0], made(X, torch.ones_like(MASK))[0])
    assert made.sees_neighbours


def test_as_adapterhub_padding_counts():
    made = gate("padded")
    torch.testing.assert_close(made(X, MASK), gate("token")(X).mean(1, keepdim=True))
    assert made.sees_neighbours


def test_pictures_that_keep_height_and_width():
    made = gate("sequence")
    torch.testing.assert_close(
        made(X.view(1, 2, 5, 8))[0], gate("token")(X).mean((0, 1))[None, None]
    )


def test_it_starts_half_open_and_has_the_papers_number_of_weights():
    made = InputGate(8, 1, kind="sequence")
    assert sum(p.numel() for p in made.parameters()) == 8 + 1
    assert (made(X.float()) - 0.5).abs().max() < 0.1


def test_sequences_that_cannot_be_told_apart_are_refused():
    with pytest.raises(AdapterError, match="use gate='token'"):
        gate("sequence")(X[0])


@pytest.mark.parametrize("causal", [True, False])
def test_what_true_means(causal):
    place = Place(width=8, causal=causal)
    assert made_gate("X", True, place, 8).kind == ("token" if causal else "sequence")
    assert made_gate("X", False, place, 8) is None
    assert made_gate("X", "padded", place, 8).kind == "padded"


def test_a_causal_word_sees_no_later_one():
    with pytest.raises(ConfigError, match="words see later ones; use gate='token'"):
        made_gate("Bottleneck", "sequence", Place(width=8, causal=True), 8)


@pytest.mark.parametrize("method", [Bottleneck, LoRA, Prefix])
def test_words_that_are_none(method):
    with pytest.raises(ConfigError, match=r"\(gate='words'\): gate is one of .*'token'"):
        method(gate="words")


@pytest.mark.parametrize("kind", ["token", "sequence", "padded"])
@pytest.mark.parametrize("settings", [{}, {"norm_after": "sum"}, {"scaling": "channel"}])
def test_a_bottleneck_s_update_is_multiplied(kind, settings):
    place = Place(width=8)
    layer = Bottleneck(inner_width=3, gate=kind, **settings).build(place).double()
    plain = Bottleneck(inner_width=3, **settings).build(place).double()
    torch.manual_seed(5)
    for parameter in layer.parameters():
        parameter.data = torch.randn_like(parameter)
    own = layer.state_dict()
    plain.load_state_dict({key: own[key] for key in plain.state_dict()})
    y, gates = torch.randn_like(X), layer.gate(X, MASK)
    if settings.get("norm_after") == "sum":
        total = y + gates * plain.up(plain.down(X))
        wanted = plain.norm_after(total)
    else:
        wanted = y + gates * (plain(X, y) - y)
    torch.testing.assert_close(layer(X, y, MASK), wanted)
    count = sum(p.numel() for p in layer.parameters())
    assert count == sum(p.numel() for p in plain.parameters()) + 9
    assert layer.low_rank() is None
    assert layer.grouped() is None


@pytest.mark.parametrize("gates", [1, 2])
def test_a_lora_s_ranks_are_multiplied(gates):
    place = Place(width=6, in_width=8, kind="qkv")
    layer = LoRA(rank=4, alpha=6.0, gate="sequence", gates=gates).build(place).double()
    torch.manual_seed(5)
    for parameter in layer.parameters():
        parameter.data = torch.randn_like(parameter)
    y, wanted = torch.randn(2, 5, 6).double(), None
    weights = layer.gate(X, MASK)
    for number in range(gates):
        part = slice(number * 4 // gates, (number + 1) * 4 // gates)
        update = 6 / 4 * X @ layer.a[part].T @ layer.b[:, part].T * weights[..., number, None]
        wanted = update if wanted is None else wanted + update
    torch.testing.assert_close(layer(X, y, MASK), y + wanted)
    count = sum(p.numel() for p in layer.parameters())
    assert count == 4 * (6 + 8) + gates * (8 + 1)
    assert layer.low_rank() is None
    assert layer.grouped() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gates": 2}, "no effect without a gate; add gate=True"),
        ({"gates": 0, "gate": True}, "gates must be at least 1"),
        ({"gate": True, "magnitude": True}, "go with no gate"),
        ({"gate": True, "gates": 3, "rank": 4}, "their number divides the rank"),
        ({"gate": True, "gates": 2, "rank": 4, "ranks": {"q": 3}}, "rank=3, gates=2"),
    ],
)
def test_settings_of_a_lora_that_are_wrong(settings, message):
    with pytest.raises(ConfigError, match=message):
        LoRA(**settings)
