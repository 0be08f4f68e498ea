"""LoRA's layer and its variants, against the papers' formulas with every matrix formed."""

import pytest
import torch

from inlay.methods.base import Place
from inlay.methods.lora import LoRA
from inlay.ops import naive
from inlay.ops.grouped import Slots
from tests.contracts.tiny import stir

IN, OUT = 14, 9
WEIGHT = torch.randn(OUT, IN, generator=torch.Generator().manual_seed(4)).double()
VARIANTS = {
    "plain": {},
    "pissa": {"init": "pissa"},
    "magnitude": {"magnitude": True},
    "both": {"init": "pissa", "magnitude": True},
}


def built(weight=WEIGHT, **settings):
    settings = {"rank": 3, "alpha": 7.0, **settings}
    place = Place(width=OUT, in_width=IN, kind="q", weight=lambda: weight)
    return LoRA(**settings).build(place).double()


def data():
    generator = torch.Generator().manual_seed(1)
    draw = [torch.randn(2, 5, n, generator=generator, dtype=torch.float64) for n in (IN, OUT)]
    return draw[0], draw[1]


def changed(layer):
    """Return the new weight as the papers write it."""
    direction = WEIGHT + 7 / 3 * layer.b @ layer.a
    if layer.a_start is not None:
        direction = direction - 7 / 3 * layer.b_start @ layer.a_start
    if layer.magnitude is None:
        return direction
    lengths = WEIGHT.norm(dim=1, keepdim=True) + layer.magnitude[:, None]
    return lengths * direction / direction.norm(dim=1, keepdim=True).detach()


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_formula_with_gradients(variant):
    layer = built(**VARIANTS[variant])
    stir(layer)
    x, y = data()
    wanted = y + x @ (changed(layer) - WEIGHT).T
    result = layer(x, y)
    torch.testing.assert_close(result, wanted, atol=1e-11, rtol=1e-11)
    parameters = list(layer.parameters())
    grads = [
        torch.autograd.grad(out.square().sum(), parameters) for out in (result, wanted)
    ]  # fmt: skip
    torch.testing.assert_close(grads[0], grads[1], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(y + x @ layer.weight_update().T, wanted, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_new_layer_is_exactly_the_base(variant):
    for dtype in (torch.float32, torch.float64):
        weight = WEIGHT.to(dtype)
        weight[2] = 0.0  # a row of length zero must not divide by it
        layer = built(weight, **VARIANTS[variant]).to(dtype)
        x, y = (tensor.to(dtype) for tensor in data())
        assert torch.equal(layer(x, y), y)
        assert torch.equal(layer.weight_update(), torch.zeros(OUT, IN, dtype=dtype))


@pytest.mark.parametrize(
    ("variant", "count"),
    [
        ("plain", 3 * (IN + OUT)),
        ("pissa", 3 * (IN + OUT)),
        ("magnitude", 3 * (IN + OUT) + OUT),
    ],
)
def test_parameter_counts(variant, count):
    assert sum(p.numel() for p in built(**VARIANTS[variant]).parameters()) == count


def test_pissa_starts_at_the_principal_part():
    """Meng et al. 2024, equations 2 and 3: what is left of `W` has the other singular values."""
    layer = built(init="pissa", alpha=2.5)
    principal = 2.5 / 3 * layer.b_start @ layer.a_start
    values = torch.linalg.svdvals(WEIGHT)
    torch.testing.assert_close(torch.linalg.svdvals(principal)[:3], values[:3])
    torch.testing.assert_close(torch.linalg.svdvals(WEIGHT - principal)[:-3], values[3:])
    # The root of the singular values is in each factor.
    torch.testing.assert_close(layer.a_start.norm(dim=1), layer.b_start.norm(dim=0))
    assert {name for name, _ in layer.named_buffers()} == {"a_start", "b_start"}


def test_orthogonal_start():
    layer = built(init="orthogonal")
    torch.testing.assert_close(layer.a @ layer.a.T, torch.eye(3).double(), atol=1e-6, rtol=0)


def test_the_weight_is_read_when_it_is_needed():
    """So a base that was moved or exchanged is followed."""
    weight = WEIGHT.clone()
    layer = built(weight, magnitude=True)
    stir(layer)
    x, y = data()
    before = layer(x, y)
    weight.mul_(3)
    assert not torch.allclose(layer(x, y), before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_low_rank_and_grouped_forms(variant):
    one, two = (built(**VARIANTS[variant]) for _ in range(2))
    stir(one, 1)
    stir(two, 2)
    x, y = data()
    form, groups = one.low_rank(), [one.grouped(), two.grouped()]
    if one.magnitude is not None:
        assert form is None, "the change of the rows' lengths is of full rank"
        assert groups == [None, None]
        return
    torch.testing.assert_close(y + form.reduce(x) @ form.up.T, one(x, y))
    assert groups[0].key == groups[1].key
    stacked = tuple(map(torch.stack, zip(*(g.weights for g in groups), strict=True)))
    wanted = torch.cat([one(x[:1], y[:1]), two(x[1:], y[1:])])
    torch.testing.assert_close(groups[0].run(stacked, Slots((0, 1)), x, y), wanted)


def test_layers_of_different_form_do_not_run_together():
    assert built().grouped().key != built(init="pissa").grouped().key


def test_equals_its_naive_twin():
    layer = built()
    stir(layer)
    x, y = data()
    torch.testing.assert_close(layer(x, y), y + naive.low_rank(x, layer.a, layer.b, 7.0 / 3))


def test_dropout_is_on_the_input_and_only_in_training():
    for settings in VARIANTS.values():
        layer = built(rank=2, dropout=0.5, **settings)
        stir(layer)
        x, y = torch.ones(1, IN).double(), torch.zeros(1, OUT).double()
        assert not torch.equal(layer(x, y), layer(x, y))
        layer.eval()
        assert torch.equal(layer(x, y), layer(x, y))


def test_lengths_are_exact_under_autocast():
    """A length that autocast computed in bfloat16 would be off by a hundredth."""
    layer = built(WEIGHT.float(), magnitude=True).float()
    stir(layer)
    with torch.autocast("cpu", torch.bfloat16):
        inside = layer.stretch()
    torch.testing.assert_close(inside, layer.stretch(), atol=1e-6, rtol=1e-6)
