"""The bottleneck's mathematics, sizes and starts."""

import copy

import pytest
import torch
from torch.nn import functional as F

from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.bottleneck import Bottleneck
from tests.contracts.tiny import stir

WIDTH = 21


def built(**settings):
    torch.manual_seed(0)
    layer = Bottleneck(**settings).build(Place(width=WIDTH)).double()
    stir(layer)
    return layer


def inputs():
    generator = torch.Generator().manual_seed(4)
    shape = (2, 7, WIDTH)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))


def test_equals_the_formula_with_everything_on():
    layer = built(
        inner_width=5, activation="gelu", scaling="channel", norm_before=True, norm_after=True,
        hidden_layers=2,
    ).eval()  # fmt: skip
    h, x = inputs()
    before, after = layer.norm_before, layer.norm_after
    z = F.layer_norm(h, (WIDTH,), before.weight, before.bias)
    for index in (0, 2):
        z = F.gelu(z @ layer.down[index].weight.T + layer.down[index].bias)
    z = z @ layer.up.weight.T + layer.up.bias
    z = F.layer_norm(z, (WIDTH,), after.weight, after.bias)
    torch.testing.assert_close(layer(h, x), x + z * layer.scale)


def test_fixed_and_learned_scales():
    h, x = inputs()
    plain, fixed = built(inner_width=3), built(inner_width=3, scaling=4.0)
    torch.testing.assert_close(fixed(h, x) - x, 4 * (plain(h, x) - x))
    learned = built(inner_width=3, scaling="learned")
    assert learned.scale.shape == (1,)
    assert isinstance(learned.scale, torch.nn.Parameter)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"inner_width": 5}, 2 * 21 * 5 + 5 + 21),
        ({"reduction": 4}, 2 * 21 * 5 + 5 + 21),
        ({"reduction": 100}, 2 * 21 + 1 + 21),
        ({"inner_width": 5, "scaling": "learned"}, 2 * 21 * 5 + 5 + 21 + 1),
        ({"inner_width": 5, "scaling": "channel"}, 2 * 21 * 5 + 5 + 21 + 21),
        ({"inner_width": 5, "norm_before": True, "norm_after": True}, 2 * 21 * 5 + 26 + 4 * 21),
        ({"inner_width": 5, "hidden_layers": 3}, 2 * 21 * 5 + 26 + 2 * (5 * 5 + 5)),
    ],
)
def test_parameter_count(settings, expected):
    assert sum(p.numel() for p in built(**settings).parameters()) == expected


def test_reductions_by_block():
    method = Bottleneck(reduction={"0": 3, "default": 7})
    widths = [method.build(Place(width=21, block=b)).up.in_features for b in (0, 1, None)]
    assert widths == [7, 3, 3]
    with pytest.raises(ConfigError, match="no reduction for block 4 and no 'default'"):
        Bottleneck(reduction={"0": 3}).build(Place(width=21, block=4))


@pytest.mark.parametrize("norm_after", [False, True])
def test_zero_starts_at_the_base_and_still_learns(norm_after):
    layer = Bottleneck(inner_width=4, activation="gelu", norm_after=norm_after).build(
        Place(width=WIDTH)
    )
    h, x = (value.float() for value in inputs())
    assert torch.equal(layer(h, x), x)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(2):
        (layer(h, x) * torch.linspace(-1, 1, WIDTH)).sum().backward()
        optimizer.step()
    assert all(parameter.grad.any() for parameter in layer.parameters())


@pytest.mark.parametrize(("init", "deviation"), [("houlsby", 0.0088), ("bert", 0.02)])
def test_paper_starts_are_near_the_base(init, deviation):
    layer = Bottleneck(inner_width=200, init=init).build(Place(width=300))
    assert layer.up.weight.std().item() == pytest.approx(deviation, rel=0.03)
    assert layer.down[0].weight.std().item() == pytest.approx(deviation, rel=0.03)
    assert layer.up.bias.count_nonzero() == 0


def test_dropout_only_in_training():
    layer = built(inner_width=4, dropout=0.5)
    h, x = inputs()
    layer.eval()
    assert torch.equal(layer(h, x), layer(h, x))
    layer.train()
    assert (layer(h, x) == x).float().mean() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reduction": 0}, "reduction must be above 0"),
        ({"reduction": {"1": -2, "default": 2}}, "reduction must be above 0"),
        ({"inner_width": 0}, "inner_width must be at least 1"),
        ({"inner_width": 4, "reduction": 2}, "give one of the two"),
        ({"activation": "rellu"}, "Did you mean 'relu'"),
        ({"input": "y"}, r"input is one of 'x', 'r', 'x\+r', 'norm\(x\+r\)'"),
        ({"scaling": "chanel"}, "Did you mean 'channel'"),
        ({"init": "ones"}, "init is one of"),
        ({"dropout": 1.0}, "dropout is a fraction"),
        ({"hidden_layers": 0}, "hidden_layers must be at least 1"),
    ],
)
def test_wrong_values(settings, message):
    with pytest.raises(ConfigError, match=message):
        Bottleneck(**settings)


def test_layers_with_different_activations_do_not_run_together():
    names = ("relu", "gelu", "gelu_new")
    assert len({built(inner_width=5, activation=name).grouped().key for name in names}) == 3


def test_what_the_update_is_added_to():
    h, x = inputs()
    update = built(inner_width=5)(h, x) - x
    torch.testing.assert_close(built(inner_width=5, residual="input")(h, x), h + update)
    kept = built(inner_width=5, residual="x+r")
    assert kept.reads == "norm(x+r), r"
    stream = h.flip(0)
    torch.testing.assert_close(kept(torch.cat([h, stream], -1), x), x + stream + update)
    for layer in (kept, built(inner_width=5, residual="input")):
        assert layer.low_rank() is None
        assert layer.grouped() is None


def test_a_norm_over_the_sum():
    h, x = inputs()
    layer = built(inner_width=5, norm_after="sum", scaling=3.0)
    update = built(inner_width=5, scaling=3.0)(h, x) - x
    after = layer.norm_after
    expected = F.layer_norm(x + update, (WIDTH,), after.weight, after.bias)
    torch.testing.assert_close(layer(h, x), expected)
    fresh = Bottleneck(inner_width=5, norm_after="sum").build(Place(width=WIDTH)).double()
    torch.testing.assert_close(fresh(h, x), F.layer_norm(x, (WIDTH,)))


def test_reductions_by_submodel():
    method = Bottleneck(reduction={"decoder.1": 3, "1": 7, "default": 21})
    sizes = [
        method.inner_width_at(Place(width=WIDTH, block=block, submodel=submodel))
        for submodel, block in (("decoder", 1), ("encoder", 1), ("decoder", 0))
    ]
    assert sizes == [7, 3, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input": "x", "residual": "input"}, "residual='input'\\) is residual='x'"),
        ({"input": "r", "residual": "x+r"}, "goes with input='norm\\(x\\+r\\)' only"),
        ({"residual": "y"}, "residual is one of 'x', 'input', 'x\\+r'"),
        ({"norm_after": "both"}, "norm_after is one of True, False, 'sum'"),
    ],
)
def test_residuals_that_make_no_sense(settings, message):
    with pytest.raises(ConfigError, match=message):
        Bottleneck(**settings)


@pytest.mark.parametrize("scaling", [1.0, 3.0, "channel"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_on_a_bfloat16_base_it_is_the_exact_one_to_rounding(scaling, activation):
    """Outputs and gradients against the layer in float64, which is the definition."""
    exact = built(inner_width=5, scaling=scaling, activation=activation)
    layer = copy.deepcopy(exact).float()
    h, x = inputs()
    low = [value.bfloat16().requires_grad_() for value in (h, x)]
    rounded = [value.detach().double().requires_grad_() for value in low]
    found, wanted = layer(*low), exact(*rounded)
    assert found.dtype == torch.bfloat16
    weights = torch.linspace(-1, 1, wanted.numel(), dtype=torch.float64).view_as(wanted)
    (found.double() * weights).sum().backward()
    (wanted * weights).sum().backward()
    pairs = [(found, wanted), *((a.grad, b.grad) for a, b in zip(low, rounded, strict=True))]
    pairs += [(a.grad, b.grad) for a, b in zip(layer.parameters(), exact.parameters(), strict=True)]
    for one, two in pairs:
        error = (one.double() - two).norm() / two.norm()
        assert error < 0.02
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())
