"""The base's maps as matrices: what a matrix does there is what the module's own weight does."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import inlay
from inlay.sites.maps import base_map, is_convolution, sharers
from inlay.sites.sitemap import Site
from tests.contracts import tiny

TABLE = Site(name="embedding", kind="embedding", module="0", width=4)


@pytest.mark.parametrize(("kind", "site"), [("llama", "1.ffn.up"), ("gpt2", "1.attention.qkv")])
def test_a_linear_map_s_weight_is_the_present_one(kind, site):
    model = tiny.decoder(kind)
    site = inlay.probe(model)[site]
    module, weight = model.get_submodule(site.module), base_map(site, model)
    x = torch.randn(2, site.in_width)
    bias = 0 if getattr(module, "bias", None) is None else module.bias
    torch.testing.assert_close(module(x) - bias, x @ weight().T, atol=1e-5, rtol=1e-5)
    assert not weight().requires_grad
    assert weight.apply is None
    assert torch.equal(weight.in_place(weight()), module.weight)
    twin_module, twin_weight = copy.deepcopy((module, weight))
    module.weight.data = module.weight.data * 2
    torch.testing.assert_close(weight(), 2 * twin_weight())
    twin_module.double()
    assert twin_weight().dtype == torch.float64, "a copy follows the copied module"


def test_where_there_is_no_such_weight():
    model = tiny.decoder("llama")
    sites = inlay.probe(model)
    assert base_map(sites["1.ffn"], model) is None
    assert base_map(replace(sites["1.ffn.up"], width=7), model) is None
    assert base_map(replace(sites["1.ffn.up"], in_width=7), model) is None
    assert base_map(replace(sites["1.ffn.up"], module="nowhere"), model) is None


class Scaled(nn.Embedding):
    def forward(self, words):
        return super().forward(words) * 3.5


class Shifted(nn.Embedding):
    def forward(self, words):
        return super().forward(words) + 1


@pytest.mark.parametrize("table", [nn.Embedding(6, 4), nn.Embedding(6, 4, 0), Scaled(6, 4)])
def test_a_table_multiplies_one_hot_words(table):
    found = base_map(TABLE, nn.Sequential(table))
    words = torch.tensor([[5, 0, 3]])
    torch.testing.assert_close(found.apply(words, found()), table(words))
    assert (found().shape, found.in_width) == ((4, 6), 6)
    assert torch.equal(found.in_place(found()), table.weight)
    matrix = torch.randn(2, 6)
    one_hot = nn.functional.one_hot(words, 6).float()
    factor = 3.5 if isinstance(table, Scaled) else 1.0
    torch.testing.assert_close(found.apply(words, matrix), factor * one_hot @ matrix.T)


@pytest.mark.parametrize(
    "table", [Shifted(6, 4), nn.Embedding(6, 4, max_norm=0.1), nn.Linear(4, 6), nn.LayerNorm(4)]
)
def test_what_is_no_plain_table(table):
    before = copy.deepcopy(table.state_dict())
    assert base_map(TABLE, nn.Sequential(table)) is None
    assert all(torch.equal(before[key], value) for key, value in table.state_dict().items())


def test_vectors_that_are_looked_up_elsewhere_are_no_table():
    assert base_map(replace(TABLE, point="in"), nn.Sequential(nn.Embedding(6, 4))) is None


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv1d(3, 5, 4, stride=2, padding=1, dilation=2), (2, 3, 17)),
        (nn.Conv2d(3, 5, (2, 3), stride=(1, 2), padding=(1, 0), bias=False), (2, 3, 8, 9)),
        (nn.Conv2d(3, 5, 1, padding="same"), (2, 3, 4, 4)),
        (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4)),
    ],
)
def test_a_convolution_multiplies_patches(module, shape):
    width, size = len(module.weight), module.weight[0].numel()
    site = Site(name="c", kind="kernel", module="0", width=width, in_width=size, channel_dim=1)
    found = base_map(site, nn.Sequential(module))
    x = torch.randn(shape)
    bias = 0 if module.bias is None else module.bias
    own = found.apply(x, found()) + bias
    torch.testing.assert_close(own, module(x).movedim(1, -1), atol=1e-5, rtol=1e-5)
    assert torch.equal(found.in_place(found()), module.weight)
    two = torch.randn(2, size)
    torch.testing.assert_close(
        found.apply(x, two @ found().T @ found()),
        found.apply(x, found()) @ (two @ found().T).T, atol=1e-4, rtol=1e-4,
    )  # fmt: skip


def test_which_convolutions_are_plain():
    assert is_convolution(nn.Conv1d(4, 4, 3))
    assert not is_convolution(nn.Conv1d(4, 4, 3, groups=2))
    assert not is_convolution(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"))
    assert not is_convolution(nn.ConvTranspose1d(4, 4, 3))
    assert not is_convolution(nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 4, 3)))


def test_who_else_holds_a_weight():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    assert sharers(model, model[0].weight, model[0]) == ["2"]
    assert sharers(model, model[1].weight, model[1]) == []
    twice = nn.Sequential(model[1], model[1])
    assert sharers(twice, model[1].weight, model[1]) == [], "one module at two places"
