"""A key-value cache that one copy fills for all."""

import torch
import transformers as hf

from inlay.sites.caches import Filling, caches_in, can_grow


def states(rows, length=3):
    return torch.randn(rows, 2, length, 4)


def test_caches_are_found_by_name_and_place():
    cache, other = hf.DynamicCache(), object()
    assert caches_in((torch.ones(2), cache), {}) == [cache]
    assert caches_in((), {"layer_past": cache}) == [cache]
    assert caches_in((), {"past_key_values": cache}) == [cache]
    assert caches_in((), {"cache_params": other}) == [other]
    assert caches_in((torch.ones(2),), {"past_key_values": None}) == []


def test_only_plain_growing_layers_can_be_repeated():
    config = hf.LlamaConfig(num_hidden_layers=2)
    sliding = hf.MistralConfig(num_hidden_layers=2, sliding_window=4)
    assert can_grow(hf.DynamicCache())
    assert can_grow(hf.DynamicCache(config=config))
    assert can_grow(hf.DynamicCache(config=sliding))
    assert not can_grow(hf.DynamicCache(config=config, offloading=True))
    assert not can_grow(hf.StaticCache(config=config, max_cache_len=8))
    assert not can_grow(hf.EncoderDecoderCache(hf.DynamicCache(), hf.DynamicCache()))
    assert not can_grow(object())


def test_what_a_module_fills_is_repeated_copy_by_copy_and_nothing_else():
    cache, before, new = hf.DynamicCache(), states(6), states(2)
    cache.update(before, before, 0)
    filling = Filling(cache)
    cache.update(new, new + 1, 1)
    assert filling.grow(2, 3)
    assert torch.equal(cache.layers[0].keys, before)
    assert torch.equal(cache.layers[1].keys, torch.cat([new] * 3))
    assert torch.equal(cache.layers[1].values, torch.cat([new + 1] * 3))


def test_what_has_other_rows_is_not_repeated_and_can_be_taken_back():
    config = hf.MistralConfig(num_hidden_layers=2, sliding_window=4)
    for cache in (hf.DynamicCache(), hf.DynamicCache(config=config)):
        first = states(2)
        cache.update(first, first, 0)
        filling = Filling(cache)
        cache.update(states(4), states(4), 1)
        cache.update(states(2, 1), states(2, 1), 0)
        assert not filling.grow(2, 3)
        filling.undo()
        assert torch.equal(cache.layers[0].keys, first)
        assert cache.get_seq_length(0) == 3
        again = states(6)
        cache.update(again, again, 1)
        assert torch.equal(cache.layers[1].keys, again)
        assert cache.get_seq_length(1) == 3
