"""What the calls of a model and of its stacks say about the sequence."""

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

import inlay
from inlay.errors import AdapterError
from inlay.sites.padding import Call, watch_calls
from tests.contracts import tiny


def watched(model):
    blocks = [site.module for site in inlay.probe(model) if site.kind == "block"]
    calls: list[Call] = []
    handles = watch_calls(model, blocks, calls.append)
    return calls, handles


def test_the_mask_as_keyword_and_by_position_and_none():
    model, inputs = tiny.classifier(), tiny.batch()
    calls, handles = watched(model)
    model(**inputs)
    model(inputs["input_ids"], inputs["attention_mask"])
    assert calls
    assert all(torch.equal(call.mask, inputs["attention_mask"]) for call in calls)
    calls.clear()
    model(inputs["input_ids"])
    assert all(call.mask is None for call in calls)
    for handle in handles:
        handle.remove()
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_each_stack_of_a_pair_has_its_own_mask():
    config = T5Config(d_model=16, d_ff=24, num_layers=2, num_heads=2, d_kv=8, vocab_size=90)
    config.decoder_start_token_id = 0
    model = T5ForConditionalGeneration(config).eval()
    calls, _ = watched(model)
    ids, mask = tiny.batch(2, 4)["input_ids"], tiny.batch(2, 4)["attention_mask"]
    own = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]])
    model(input_ids=ids, attention_mask=mask, decoder_input_ids=ids, decoder_attention_mask=own)
    assert [torch.equal(call.mask, mask) for call in calls] == [True, True, False]
    assert torch.equal(calls[-1].mask, own)
    calls.clear()
    model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=3)
    assert torch.equal(calls[0].mask, mask), "generate runs the encoder by itself"
    assert max(call.past for call in calls) == 2


def test_cached_positions_are_counted():
    model = tiny.decoder()
    calls, _ = watched(model)
    ids = torch.tensor([[0, 6, 7], [4, 5, 8]])
    mask = (ids != 0).long()
    first = model(ids, attention_mask=mask, use_cache=True)
    more = torch.cat([mask, torch.ones(2, 1, dtype=torch.long)], dim=1)
    model(ids[:, :1], attention_mask=more, past_key_values=first.past_key_values)
    assert calls[0].past == 0
    assert calls[-1].past == 3
    x = torch.zeros(2, 1, 5)
    assert torch.equal(calls[-1].seen(x), more)
    assert torch.equal(calls[-1].padding(x), more[:, 3:])
    assert Call(past=2).seen(x).shape == (2, 3)
    assert Call().seen(x) is None
    assert Call(mask=torch.ones(2, 9)).padding(x) is None, "a mask of something else"


def test_padding_that_cannot_be_told_is_refused():
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("a", inlay.ConvAdapter(reduction=4), at="ffn")
    model.adapters.use("a")
    inputs = tiny.batch()
    mask = inputs["attention_mask"].bool()
    inputs["attention_mask"] = mask[:, None, None, :].expand(-1, 1, 7, -1)
    with pytest.raises(AdapterError, match=r"not of the form \(batch, positions\)"):
        tiny.hidden(model, inputs)
    model.adapters.use(None)
    tiny.hidden(model, inputs)


def test_the_padding_of_some_rows():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    call = Call(mask=mask)
    assert call.rows(torch.tensor([1]), 2).mask.tolist() == [[1, 0, 0]]
    assert call.rows(torch.tensor([5]), 8) is call, "a dimension that is not the batch"
