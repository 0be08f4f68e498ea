"""What a word of a placement names, and what it does not."""

import pytest

from inlay.site_kinds import KINDS, LINEAR_KINDS, RESIDUAL_KINDS, is_named


def test_each_kind_is_one_of_the_kinds_once():
    assert len(set(KINDS)) == len(KINDS)
    assert {*RESIDUAL_KINDS, *LINEAR_KINDS} < set(KINDS)
    assert not set(RESIDUAL_KINDS) & set(LINEAR_KINDS)


@pytest.mark.parametrize(
    ("term", "site", "kind", "sublayer", "expected"),
    [
        ("q", "0.attention.q", "q", "attention", True),
        ("attention.q", "0.attention.q", "q", "attention", True),
        ("attention.q", "0.cross_attention.q", "q", "cross_attention", False),
        ("attention.q", "of any name", "q", "attention", True),
        ("attention.q", "x.attention.q", "other", "", False),
        ("0.attention.q", "0.attention.q", "q", "attention", True),
        ("0.ffn", "10.ffn", "ffn", "ffn", False),
        ("ffn", "0.ffn.up", "up", "ffn", False),
        ("ffn.ffn", "0.ffn", "ffn", "ffn", False),
        ("conv.kernel", "0.conv.kernel", "kernel", "conv", False),
        ("linear", "0.ffn.up", "up", "ffn", True),
        ("linear", "0.ffn.other", "other", "ffn", False),
        ("linear", "lm_head", "lm_head", "", False),
        ("linear", "0.conv.kernel", "kernel", "conv", False),
        ("linear", "0.ffn", "ffn", "ffn", False),
        ("other", "pooler.dense", "other", "", True),
        ("ffn.other", "0.ffn.other", "other", "ffn", True),
    ],
)
def test_what_a_word_names(term, site, kind, sublayer, expected):
    assert is_named(term, site=site, kind=kind, sublayer=sublayer) is expected
