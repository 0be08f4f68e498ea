"""The active composition as the hooks see it."""

import pytest
import torch

import inlay
from inlay.errors import AdapterError
from tests.contracts import tiny


def test_the_stream_is_kept_only_for_those_who_read_it():
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("reads", inlay.Bottleneck(input="r"), at="ffn")
    model.adapters.add("does-not", inlay.Bottleneck(input="x"), at="ffn")
    running = model.adapters._running
    for name, wants in (("reads", True), ("does-not", False), (None, False)):
        model.adapters.use(name)
        assert running.wants_stream("1.ffn") is wants
        tiny.hidden(model, tiny.batch())
        assert model.adapters._hooks.local.streams == {}, "nothing is left behind"


def test_the_mask_reaches_those_who_look_at_neighbours():
    model = tiny.encoder()
    inlay.attach(model)
    entry = model.adapters.add("conv", inlay.ConvAdapter(reduction=4), at="1.ffn")
    masks = []
    entry.layer_at("1.ffn").register_forward_pre_hook(lambda m, args: masks.append(args[2:]))
    model.adapters.use("conv")
    inputs = tiny.batch()
    tiny.hidden(model, inputs)
    model(inputs["input_ids"], inputs["attention_mask"])
    tiny.hidden(model, {"input_ids": inputs["input_ids"]})
    assert torch.equal(masks[0][0], inputs["attention_mask"])
    assert torch.equal(masks[1][0], inputs["attention_mask"]), "also as a positional argument"
    assert masks[2] == ()


def test_a_cache_is_refused_by_those_who_look_at_neighbours():
    model = tiny.decoder()
    inlay.attach(model)
    model.adapters.add("conv", inlay.ConvAdapter(reduction=4))
    model.adapters.use("conv")
    first = model(torch.tensor([[5, 6, 7]]), use_cache=True)
    with pytest.raises(AdapterError, match="generate with use_cache=False"):
        model(torch.tensor([[8]]), past_key_values=first.past_key_values, use_cache=True)
