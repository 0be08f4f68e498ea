"""VeRA against the paper's formulas; its matrices come from the seed alone."""

import copy

import pytest
import torch

import inlay
from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.ops.grouped import Slots
from tests.contracts import tiny

PLACES = {
    "0.q": Place(width=9, in_width=14, kind="q"),
    "0.up": Place(width=20, in_width=14, kind="up"),
    "1.q": Place(width=9, in_width=14, kind="q"),
}


def built(rank=6, seed=4):
    layers = inlay.VeRA(rank=rank, seed=seed).build_all(PLACES)
    for number, layer in enumerate(layers.values()):
        tiny.stir(layer.double(), seed=number)
    return layers


def data(out_width=9):
    generator = torch.Generator().manual_seed(2)
    return (
        torch.randn(2, 5, width, generator=generator, dtype=torch.float64)
        for width in (14, out_width)
    )


def test_the_papers_formula():
    """Equation 2, with the diagonal matrices written out."""
    for layer in built().values():
        x, y = data(len(layer.b))
        down, up = layer.matrices()
        update = torch.diag(layer.b) @ up @ torch.diag(layer.d) @ down
        torch.testing.assert_close(layer(x, y), y + x @ update.T, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(layer.weight_update(), update, atol=1e-12, rtol=1e-12)
        form = layer.low_rank()
        torch.testing.assert_close(y + form.reduce(x) @ form.up.T, layer(x, y))


def test_start_and_parameter_count():
    layers = inlay.VeRA(rank=6).build_all(PLACES)
    count = sum(p.numel() for layer in layers.values() for p in layer.parameters())
    assert count == sum(place.width + 6 for place in PLACES.values())
    for layer in layers.values():
        assert torch.equal(layer.d, torch.full((6,), 0.1))
        assert torch.equal(layer.b, torch.zeros(len(layer.b)))
        down, up = layer.matrices()
        assert down.abs().max() <= (6 / 14) ** 0.5, "Kaiming uniform"
        assert up.abs().max() <= (6 / 6) ** 0.5


def test_maps_of_one_shape_share_their_matrices():
    layers = built()
    assert layers["0.q"].down is layers["1.q"].down
    assert layers["0.q"].up is layers["1.q"].up
    assert layers["0.up"].down is layers["0.q"].down
    assert layers["0.up"].up is not layers["0.q"].up
    twin = copy.deepcopy(list(layers.values()))
    assert twin[0].down is twin[2].down, "a copy shares them too"


def test_a_layer_moved_apart_from_the_others_computes_the_same():
    """A base in parts of different precision, or on different devices."""
    layers = built()
    x, y = data()
    expected = layers["0.q"](x, y)
    layers["1.q"].float()  # takes the shared matrices with it
    assert torch.equal(layers["0.q"](x, y), expected)


def test_only_adapters_of_one_seed_and_rank_run_together():
    one, two = built()["0.q"], built()["1.q"]
    keys = {one.grouped().key, two.grouped().key}
    others = {built(seed=5)["0.q"].grouped().key, built(rank=7)["0.q"].grouped().key}
    assert len(keys) == 1
    assert len(keys | others) == 3
    x, y = data()
    stacked = tuple(map(torch.stack, zip(*(g.grouped().weights for g in (one, two)), strict=True)))
    wanted = torch.cat([one(x[:1], y[:1]), two(x[1:], y[1:])])
    torch.testing.assert_close(one.grouped().run(stacked, Slots((0, 1)), x, y), wanted)


def test_the_matrices_are_not_saved_and_come_back(tmp_path):
    model = tiny.encoder()
    inlay.attach(model)
    entry = model.adapters.add("a", "vera[rank=5,seed=8]", at="q, down")
    tiny.stir(entry)
    assert {key.rpartition("/")[2] for key in entry.tensors()} == {"b", "d"}
    inlay.save(model, "a", tmp_path / "a")
    torch.manual_seed(123)
    fresh = tiny.encoder()
    inlay.load(fresh, tmp_path / "a")
    for site, layer in fresh.adapters.entry("a").layers.items():
        for one, two in zip(layer.matrices(), entry.layers[site].matrices(), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize(("kind", "at"), [("llama", "linear"), ("gpt2", "qkv, o, up, down")])
def test_merged_it_computes_the_same_and_the_base_comes_back(kind, at):
    model = tiny.decoder(kind).double()
    inlay.attach(model)
    tiny.stir(model.adapters.add("a", inlay.VeRA(rank=5), at=at))
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    inputs = {"input_ids": torch.tensor([[5, 9, 14, 22]])}
    base = tiny.hidden(model, inputs)
    model.adapters.use("a")
    expected = tiny.hidden(model, inputs)
    assert (expected - base).abs().max() > 1e-3
    model.adapters.merge("a")
    torch.testing.assert_close(tiny.hidden(model, inputs), expected, atol=1e-10, rtol=1e-8)
    model.adapters.unmerge()
    assert all(torch.equal(model.state_dict()[key], value) for key, value in weights.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, r"VeRA\(rank=0\): rank must be at least 1"),
        ({"rank": 2.5}, r"VeRA\(rank=2.5\): rank is a whole number"),
        ({"seed": -1}, r"VeRA\(seed=-1\): seed must be at least 0"),
        ({"seed": True}, r"VeRA\(seed=True\): seed is a whole number"),
    ],
)
def test_wrong_values(settings, message):
    with pytest.raises(ConfigError, match=message):
        inlay.VeRA(**settings)


def test_other_places_are_refused():
    with pytest.raises(ConfigError, match="VeRA needs a linear map; a site of kind 'ffn' is none"):
        inlay.VeRA().build(Place(width=9))


def test_saved_matrices_are_saved_once_and_come_back(tmp_path):
    model = tiny.encoder()
    entry = inlay.attach(model).add("a", "vera[rank=5,saved=true]", at="q, v, up")
    tiny.stir(entry)
    own = entry.tensors()
    assert sum(key.endswith("down.weight") for key in own) == 1, "q, v and up have one input width"
    assert sum(key.endswith("up.weight") for key in own) == 2
    for key in own:
        if key.endswith(("down.weight", "up.weight")):
            own[key].copy_(torch.randn(own[key].shape))  # no matrices of the seed
    model.adapters.use("a")
    inlay.save(model, "a", tmp_path / "a")
    again = tiny.encoder()
    inlay.load(again, tmp_path / "a")
    again.adapters.use("a")
    assert torch.equal(tiny.hidden(again, tiny.batch()), tiny.hidden(model, tiny.batch()))
    with pytest.raises(ConfigError, match="saved is one of True, False"):
        inlay.VeRA(saved="yes")
