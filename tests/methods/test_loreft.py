"""LoReFT against its formula, at positions counted over real tokens."""

import pytest
import torch

import inlay
from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.loreft import LoReFT
from tests.contracts import tiny

RIGHT = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
LEFT = RIGHT.flip(1)


def built(**settings):
    layer = LoReFT(**settings).build(Place(width=10)).double()
    tiny.stir(layer)
    return layer


def naive(edit, h):
    """Edit one vector: R by Gram and Schmidt, row after row."""
    rows = []
    for column in edit.raw.T:
        for row in rows:
            column = column - (column @ row) * row
        rows.append(column / column.norm())
    R = torch.stack(rows)
    return h + R.T @ (edit.weight @ h + edit.bias - R @ h)


def expected(layer, h, mask):
    result = h.clone()
    for row in range(len(h)):
        real = mask[row].nonzero().flatten().tolist()
        start = real[: layer.first]
        end = [p for p in (real[-layer.last :] if layer.last else []) if p not in start]
        for position in start:
            result[row, position] = naive(layer.edit, h[row, position])
        for position in end:
            result[row, position] = naive(layer.edit_last or layer.edit, h[row, position])
    return result


@pytest.mark.parametrize("mask", [RIGHT, LEFT, torch.ones(2, 6)], ids=["right", "left", "none"])
@pytest.mark.parametrize(
    "settings",
    [
        {"first": 2, "last": 1},
        {"first": 0, "last": 2},
        {"first": 4, "last": 4},
        {"first": 2, "last": 2, "tied": False},
        {"first": 9, "last": 0},
    ],
)
def test_equals_its_formula(settings, mask):
    layer = built(rank=3, **settings)
    h = torch.randn(2, 6, 10, dtype=torch.float64)
    torch.testing.assert_close(layer(h, h, mask), expected(layer, h, mask))
    if mask.all():
        torch.testing.assert_close(layer(h, h, None), layer(h, h, mask))


def test_the_edit_stays_in_its_subspace():
    """After the edit, what R sees is W h + b; what R does not see is as before."""
    layer = built(rank=3, first=6, last=0)
    h = torch.randn(2, 6, 10, dtype=torch.float64)
    R, edited = layer.edit.rotation(), layer(h, h)
    torch.testing.assert_close(R @ R.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(edited @ R.T, h @ layer.edit.weight.T + layer.edit.bias)
    torch.testing.assert_close((edited - h) - (edited - h) @ R.T @ R, torch.zeros_like(h))


def test_gradients_equal_the_formulas():
    layer = built(rank=2, first=2, last=1)
    h = torch.randn(2, 6, 10, dtype=torch.float64)
    weights = torch.linspace(-1, 1, h.numel(), dtype=torch.float64).view_as(h)
    parameters = list(layer.parameters())
    ours = torch.autograd.grad((layer(h, h, LEFT) * weights).sum(), parameters)
    naives = torch.autograd.grad((expected(layer, h, LEFT) * weights).sum(), parameters)
    for one, two in zip(ours, naives, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(("tied", "times"), [(True, 1), (False, 2)])
def test_parameter_count_and_start(tied, times):
    layer = LoReFT(rank=3, tied=tied).build(Place(width=10))
    assert sum(p.numel() for p in layer.parameters()) == times * (2 * 3 * 10 + 3)
    x = torch.randn(2, 30, 10)
    assert torch.equal(layer(x, x), x)
    drawn = LoReFT(rank=3, init="paper").build(Place(width=10))
    assert not torch.allclose(drawn(x, x), x)


def test_with_a_cache_the_ends_are_those_of_the_prompt():
    """Generating with a cache edits the prompt's ends only: like a fixed mask on the whole text."""
    model = tiny.decoder().double()
    inlay.attach(model)
    entry = model.adapters.add("a", inlay.LoReFT(rank=2, first=1, last=2), layers="1")
    tiny.stir(entry)
    model.adapters.use("a")
    prompt = {
        "input_ids": torch.tensor([[0, 0, 5, 9, 14], [3, 8, 21, 40, 7]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]),
    }
    how = {"max_new_tokens": 4, "do_sample": False, "output_logits": True,
           "return_dict_in_generate": True, "eos_token_id": None}  # fmt: skip
    cached = model.generate(**prompt, **how)
    layer = entry.layer_at("1.block")
    at_end = torch.zeros(2, cached.sequences.shape[1], dtype=torch.bool)
    at_end[:, 3:5] = True
    whole = layer.chosen
    layer.chosen = lambda x, mask: (whole(x, mask)[0], at_end[:, : x.shape[1]])
    with torch.no_grad():
        mask = torch.cat([prompt["attention_mask"], torch.ones(2, 4, dtype=torch.long)], dim=1)
        logits = model(input_ids=cached.sequences, attention_mask=mask, use_cache=False).logits
    found = torch.stack(cached.logits, dim=1)
    torch.testing.assert_close(found, logits[:, 4:-1].to(found.dtype))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"first": -1}, "first must be at least 0"),
        ({"last": -1}, "last must be at least 0"),
        ({"first": 0, "last": 0}, "it would edit no position"),
        ({"tied": False, "last": 0}, "nothing to tie"),
        ({"dropout": 1.0}, "dropout is a fraction"),
        ({"init": "no"}, "init is one of"),
    ],
)
def test_wrong_values(settings, message):
    with pytest.raises(ConfigError, match=message):
        LoReFT(**settings)


def test_places_that_cannot_be():
    with pytest.raises(ConfigError, match="at most 10 rows can be orthonormal"):
        LoReFT(rank=11).build(Place(width=10))
    with pytest.raises(ConfigError, match="no first and no last"):
        LoReFT().build(Place(width=10, position_dims=2))
