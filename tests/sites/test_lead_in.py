"""What the first changed block computes before anything acts, found in the site map alone."""

import dataclasses

import pytest

from inlay.sites.lead_in import holds, lead_in
from tests.contracts.families import FAMILIES


def block_of(family, number=1, submodel=None):
    sites = FAMILIES[family].sites
    submodel = sites.submodels()[0] if submodel is None else submodel
    return [site for site in sites if site.submodel == submodel and site.block == number]


def names(block, *kinds):
    return {site.name for site in block if site.kind in kinds}


def kept(found):
    return [sublayer.kept for sublayer in found]


def outermost(found):
    return [path for sublayer in found for path in sublayer.outermost]


def ends(paths, block):
    """Cut the block's own path off."""
    (own,) = (site.module for site in block if site.kind == "block")
    return tuple(path.removeprefix(f"{own}.") for path in paths)


def test_an_adapter_behind_the_attention_leaves_its_maps():
    block = block_of("bert")
    found = lead_in(block, names(block, "attention", "ffn"), ())
    (attention,) = found
    assert ends([attention.kept], block) == ("attention.output.dropout",)
    assert ends(attention.outermost, block) == (
        "attention.self", "attention.output.dense", "attention.output.dropout",
    )  # fmt: skip
    assert len(attention.maps) == 4


def test_an_adapter_behind_the_feed_forward_leaves_the_whole_block():
    block = block_of("bert")
    found = lead_in(block, names(block, "ffn"), ())
    assert ends(kept(found), block) == ("attention.output.dropout", "output.dropout")
    assert {"intermediate", "output.dense"} <= set(ends(outermost(found), block))
    assert found == lead_in(block, names(block, "block"), ())
    decoder = block_of("t5", submodel="decoder")
    assert len(lead_in(decoder, names(decoder, "ffn"), ())) == 3


def test_a_module_that_gives_the_update_holds_its_maps():
    block = block_of("llama")
    found = lead_in(block, names(block, "ffn"), ())
    assert ends(outermost(found), block) == ("self_attn", "mlp")


@pytest.mark.parametrize(
    ("acting", "within", "number"),
    [("q", (), 0), ("o", (), 0), ("down", (), 1), ("attention", ("attention",), 0)],
)
def test_a_sublayer_that_is_changed_inside_is_computed(acting, within, number):
    block = block_of("bert")
    found = lead_in(block, names(block, acting), names(block, *within))
    assert len(found) == number


@pytest.mark.parametrize("change", [{"calls": 2}, {"takes_turns": True}, {"shape_module": "x"}])
def test_a_block_of_another_form_is_computed(change):
    block = block_of("bert")
    odd = [dataclasses.replace(s, **change) if s.kind == "ffn" else s for s in block]
    assert lead_in(block, names(block, "ffn"), ()) != ()
    assert lead_in(odd, names(block, "ffn"), ()) == ()


def test_a_stream_inside_the_module_is_still_needed():
    block = block_of("llama")
    inside = next(site.module for site in block if site.kind == "o")
    odd = [dataclasses.replace(s, stream_module=inside) if s.kind == "ffn" else s for s in block]
    assert lead_in(odd, names(block, "ffn"), ()) == ()


def test_a_module_holds_itself_and_what_is_in_it():
    assert holds("a.b", "a.b")
    assert holds("a.b", "a.b.c")
    assert not holds("a.b", "a.bc")
