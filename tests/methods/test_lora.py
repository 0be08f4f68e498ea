"""LoRA's settings: which map gets which rank and scale."""

import pytest

import inlay
from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.lora import LoRA
from inlay.methods.parse import method_from_settings, parse_method
from tests.contracts import tiny

PLACES = {
    "0.attention.q": Place(width=9, in_width=14, kind="q"),
    "0.ffn.up": Place(width=20, in_width=14, kind="up"),
    "1.ffn.up": Place(width=20, in_width=14, kind="up"),
}


def built(**settings):
    return LoRA(**settings).build(PLACES["0.attention.q"])


def test_parameter_count_and_start():
    layer = built(rank=3)
    assert sum(p.numel() for p in layer.parameters()) == 3 * (9 + 14)
    assert not layer.b.any()
    assert layer.a.abs().max() <= 1 / 14**0.5, "Kaiming uniform, as a linear map starts"


def test_scales():
    assert built(rank=4, alpha=6.0).scale == 1.5
    assert built(rank=4, alpha=6.0, scale="alpha/sqrt(rank)").scale == 3.0


def test_ranks_and_alphas_by_kind_and_by_name():
    method = LoRA(
        rank=4, alpha=6.0, ranks={"up": 2, "1.ffn.up": 9}, alphas={"q": 1.0, "0.ffn.up": 3.0},
        scale="alpha/sqrt(rank)",
    )  # fmt: skip
    layers = method.build_all(PLACES)
    assert {name: len(layer.a) for name, layer in layers.items()} == {
        "0.attention.q": 4, "0.ffn.up": 2, "1.ffn.up": 9,
    }  # fmt: skip
    assert [layer.scale for layer in layers.values()] == [1 / 2, 3 / 2**0.5, 6 / 3]
    counted = sum(p.numel() for layer in layers.values() for p in layer.parameters())
    assert counted == 4 * (9 + 14) + (2 + 9) * (20 + 14)


def test_as_text_and_as_plain_data():
    text = 'lora[rank=3, ranks={"q": 4, "0.ffn.up": 2}, scale=alpha/sqrt(rank), magnitude=true]'
    method = parse_method(text).method
    assert method == LoRA(
        rank=3, ranks={"q": 4, "0.ffn.up": 2}, scale="alpha/sqrt(rank)", magnitude=True
    )
    assert method_from_settings(method.settings()) == method


def test_a_key_that_matches_nothing():
    adapters = inlay.attach(tiny.encoder())
    with pytest.raises(ConfigError, match=r"LoRA\(ranks=.*'gate' is no site .* Kinds: q, up; si"):
        adapters.add("a", LoRA(ranks={"gate": 3}), at="q, up")
    with pytest.raises(ConfigError, match=r"LoRA\(alphas=.*'0.ffn.up' is no site .*Did you mean"):
        adapters.add("a", LoRA(alphas={"0.ffn.up": 3.0}), at="q, up", layers="1-2")
    assert adapters.names == ()


def test_what_needs_the_weight_says_so():
    for settings, named in (({"init": "pissa"}, "init='pissa'"), ({"magnitude": True}, "magni")):
        with pytest.raises(ConfigError, match=f"{named}.* at 'q' computes with the map's own wei"):
            built(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 0}, r"LoRA\(rank=0\): rank must be at least 1"),
        ({"dropout": 1.5}, "dropout is a fraction"),
        ({"scale": "alpha"}, "scale is one of 'alpha/rank', 'alpha/sqrt"),
        ({"init": "svd"}, "init is one of 'kaiming', 'orthogonal', 'pissa'"),
        ({"magnitude": "yes"}, "magnitude is one of True, False"),
        ({"ranks": 3}, "ranks is a mapping from kinds or names"),
        ({"alphas": [3]}, "alphas is a mapping from kinds or names"),
        ({"ranks": {"q": 0}}, r"ranks\['q'\] must be at least 1"),
        ({"ranks": {"q": 2.5}}, "'q' has 2.5; a rank is a whole number"),
        ({"init": "pissa", "alpha": 0.0}, "alpha=0.0.*takes a scale above 0"),
        ({"init": "pissa", "alphas": {"q": -1.0}}, r"alphas\['q'\]=-1.0.*a scale above 0"),
    ],
)
def test_wrong_values(settings, said):
    with pytest.raises(ConfigError, match=said):
        LoRA(**settings)


def test_wrong_places():
    with pytest.raises(ConfigError, match="LoRA needs a linear map; a site of kind 'ffn' is none"):
        LoRA().build(Place(width=9))
    adapters = inlay.attach(tiny.encoder())
    with pytest.raises(ConfigError, match="rank=25.* has only 24 singular values; give a smaller"):
        adapters.add("a", LoRA(init="pissa", rank=25), at="q")
