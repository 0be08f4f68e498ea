"""Every form of a placement, and every way to ask for nothing."""

import pytest

import inlay
from inlay.errors import SiteError
from inlay.sites.placement import blocks_named, make_placement
from tests.contracts import tiny
from tests.contracts.families import FAMILIES

SITES = inlay.probe(tiny.encoder())
PAIR = FAMILIES["bart"].sites
FUSED = inlay.probe(tiny.decoder("gpt2"))


def names(at, layers="all", submodel=None, sites=SITES):
    return [site.name for site in make_placement(at, layers, submodel).select(sites)]


@pytest.mark.parametrize(
    ("at", "layers", "expected"),
    [
        ("ffn", "all", ["0.ffn", "1.ffn", "2.ffn"]),
        ("ffn, attention", 2, ["2.attention", "2.ffn"]),
        (["ffn", "attention"], "upper", ["1.attention", "1.ffn", "2.attention", "2.ffn"]),
        ("ffn", "lower", ["0.ffn"]),
        ("ffn", "1-2", ["1.ffn", "2.ffn"]),
        ("ffn", [0, -1], ["0.ffn", "2.ffn"]),
        ("ffn", "0, 2", ["0.ffn", "2.ffn"]),
        ("attention.q, ffn.down", [1], ["1.attention.q", "1.ffn.down"]),
        ("2.ffn, embedding", "all", ["embedding", "2.ffn"]),
        ("output", "all", ["output"]),
        ("block", [0], ["0.block"]),
        ("linear", [0], ["0.attention.q", "0.attention.k", "0.attention.v", "0.attention.o",
                         "0.ffn.up", "0.ffn.down"]),
    ],
)  # fmt: skip
def test_forms(at, layers, expected):
    assert names(at, layers) == expected


def test_submodels():
    assert names("ffn", "upper", "decoder", PAIR) == ["decoder.1.ffn"]
    assert names("q", [0], None, PAIR) == [
        "encoder.0.attention.q", "decoder.0.attention.q", "decoder.0.cross_attention.q",
    ]  # fmt: skip
    assert names("cross_attention.q", [0], "encoder, decoder", PAIR) == [
        "decoder.0.cross_attention.q"
    ]


@pytest.mark.parametrize(
    ("at", "layers", "submodel", "sites", "message"),
    [
        ("fnn", "all", None, SITES, r"at='fnn' matches no site; there are 'attention', 'ffn', "
         r".*\(3 blocks\)\. Did you mean 'ffn'"),
        ("", "all", None, SITES, "at='' names no site"),
        ("cross_attention", "all", "encoder", PAIR, "matches no site in submodel 'encoder'"),
        ("ffn", "all", "decodr", PAIR, "submodel='decodr': this model has 'encoder', 'decoder'"),
        ("ffn", "all", "decoder", SITES, "no submodels; leave submodel out"),
        ("q", "all", None, FUSED, "q, k and v are one fused map. Use at='qkv'"),
        ("ffn", "7", None, SITES, "there is no block 7; blocks are numbered 0 to 2"),
        ("ffn", "2-1", None, SITES, "the range '2-1' is empty"),
        ("ffn", "top", None, SITES, "'top' is not understood"),
        ("ffn", "", None, SITES, "names no block"),
        ("ffn", "upper 3", None, SITES, "'upper 3' is not understood; write all, upper, lower, a "
         "part such as 'upper 3/4'"),
        ("ffn", "upper 3/2", None, SITES, "the part must be more than 0 and at most 1"),
        ("ffn", "lower 0/2", None, SITES, "the part must be more than 0 and at most 1"),
        ("embedding", "upper", None, SITES, "has no effect on 'embedding', which is in no block"),
        ("2.ffn", "0", None, SITES, "at='2.ffn' with layers='0' matches no site"),
    ],
)  # fmt: skip
def test_what_matches_nothing(at, layers, submodel, sites, message):
    with pytest.raises(SiteError, match=message):
        names(at, layers, submodel, sites)


def test_a_fused_gate():
    sites = FAMILIES["phi3"].sites
    with pytest.raises(SiteError, match=r"gate and up are one fused map. Use at='gate_up'"):
        names("gate", sites=sites)


def test_halves_of_an_odd_number():
    assert sorted(blocks_named("upper", 5)) == [2, 3, 4]
    assert sorted(blocks_named("lower", 5)) == [0, 1]
    assert sorted(blocks_named("-2 - -1", 6)) == [4, 5]


@pytest.mark.parametrize(
    ("layers", "num_blocks", "expected"),
    [
        ("upper 3/4", 12, range(3, 12)),
        ("upper 3/4", 6, range(1, 6)),
        ("upper 1/4", 6, range(4, 6)),
        ("upper 1/4", 2, range(1, 2)),
        ("lower 1/3", 7, range(2)),
        ("upper 1/2", 5, range(2, 5)),
        ("upper  1/1", 3, range(3)),
    ],
)
def test_parts(layers, num_blocks, expected):
    assert sorted(blocks_named(layers, num_blocks)) == list(expected)
