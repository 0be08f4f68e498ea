"""Hooks are where adapters are, and nowhere else."""

import inlay
from tests.contracts import tiny


def hooked(model):
    return {
        name
        for name, module in model.named_modules()
        if module._forward_hooks or module._forward_pre_hooks
    }


def test_hooks_are_where_adapters_need_them():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    sites = adapters.sites
    assert hooked(model) == set()
    adapters.add("one", inlay.Bottleneck(input="x"), at="ffn", layers="1")
    assert hooked(model) == {"", sites["1.ffn"].module}, "rows are noted"
    adapters.add("two", "prefix", layers="0")
    assert hooked(model) == {"", sites["1.ffn"].module, "encoder.layer.0.attention.self"}
    adapters.add("three", "prompt")
    found = hooked(model)
    assert sites["1.ffn"].module in found
    assert len(model._forward_pre_hooks) == 2, "the whole model is the stack"
    adapters.remove("three")
    adapters.remove("two")
    assert hooked(model) == {"", sites["1.ffn"].module}
    adapters.add("four", inlay.ConvAdapter(), at="1.ffn")
    assert {"", "encoder"} <= hooked(model), "padding is noted"
    adapters.remove("four")
    adapters.train("one")
    assert hooked(model) == {"", sites["1.ffn"].module}
    adapters.remove("one")
    assert hooked(model) == set()


def test_what_is_merged_needs_no_hook():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    adapters.add("a", "lora")
    adapters.merge("a")
    assert hooked(model) == set()
    adapters.unmerge()
    assert hooked(model)
