"""The blocks that adapters leave as they are."""

import inlay
from inlay.adapters.trunks import trunks_below
from tests.contracts import tiny


def blocks_below(adapters, *names):
    """Return how many blocks lie below these adapters, and how many states are kept."""
    found = trunks_below([adapters.entry(name) for name in names], adapters.sites)
    return [(len(trunk.blocks), len(trunk.kept)) for trunk in found]


def test_what_changes_a_block_ends_the_trunk_and_what_reads_does_not():
    adapters = inlay.attach(tiny.encoder())
    number = adapters.sites.num_blocks("")
    adapters.add("last", "pfeiffer", layers="-1")
    adapters.add("all", "pfeiffer", layers="all")
    adapters.add("side", "side[reduction=3]")
    adapters.add("copy", "full")
    assert blocks_below(adapters, "last") == [(number - 1, 1)]
    assert blocks_below(adapters, "all") == []
    assert blocks_below(adapters, "side") == [(number, number)]
    assert blocks_below(adapters, "side", "last") == [(number - 1, number - 1)]
    assert blocks_below(adapters, "copy") == []


def test_what_computes_within_a_sublayer_is_not_led_into():
    adapters = inlay.attach(tiny.encoder())
    adapters.add("after", "bottleneck", at="attention", layers="-1")
    adapters.add("within", "prefix", layers="-1")
    (after,) = trunks_below([adapters.entry("after")], adapters.sites)
    (within,) = trunks_below([adapters.entry("within")], adapters.sites)
    assert after.lead_in
    assert within.blocks == after.blocks
    assert not within.lead_in
