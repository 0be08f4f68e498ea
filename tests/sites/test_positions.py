import pytest
import torch
import transformers as hf

import inlay
from inlay.errors import SiteError
from inlay.sites.example import example_inputs
from inlay.sites.positions import (
    Numbering,
    find_numbering,
    shift_positions,
    weighs_by_distance,
)
from tests.contracts import tiny
from tests.contracts.families import FAMILIES


class By:
    def __init__(self, number):
        self.number = number

    def shift(self, words):
        return self.number

    def inserted(self):
        return 0


def numbering_of(model):
    return find_numbering(inlay.probe(model), model)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_words_stand_further_back(kind):
    model, inputs = tiny.decoder(kind), tiny.batch()
    positions = torch.arange(7).expand(3, -1) + 4
    before = tiny.hidden(model, inputs)
    wanted = tiny.hidden(model, inputs | {"position_ids": positions})
    by = By(4)
    handle = shift_positions(model, numbering_of(model), by)
    torch.testing.assert_close(tiny.hidden(model, inputs), wanted)
    given = inputs | {"position_ids": positions - 4}
    torch.testing.assert_close(tiny.hidden(model, given), wanted)
    by.number = 0
    assert torch.equal(tiny.hidden(model, inputs), before)
    handle.remove()
    if kind == "gpt2":  # rotary positions only count from word to word
        assert not torch.allclose(before, wanted)


@pytest.mark.parametrize("name", ["gpt2", "bert", "roberta", "opt"])
def test_each_row_stands_where_it_is_told(name):
    model = FAMILIES[name].build()
    inputs = tiny.batch() if name != "roberta" else roberta_batch()
    real = inputs["attention_mask"].bool()
    by = By(0)
    shift_positions(model, numbering_of(model), by)
    wanted = []
    for row, by.number in enumerate((4, 0, 2)):
        wanted.append(tiny.hidden(model, inputs)[row])
    by.number = torch.tensor([[4], [0], [2]])
    found = tiny.hidden(model, inputs)
    for row in range(3):
        torch.testing.assert_close(found[row][real[row]], wanted[row][real[row]])
    assert not torch.allclose(wanted[0], tiny_base(model, inputs, by)[0], atol=1e-3)


def roberta_batch():
    """Words with the padding by which this base tells positions."""
    inputs = tiny.batch()
    ids = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, 1)
    return inputs | {"input_ids": ids}


def tiny_base(model, inputs, by):
    by.number = 0
    return tiny.hidden(model, inputs)


def test_behind_what_a_cache_holds():
    model, inputs = tiny.decoder("gpt2"), tiny.batch(rows=1)
    shift_positions(model, numbering_of(model), By(4))
    whole = tiny.hidden(model, inputs)
    ids = inputs["input_ids"]
    with torch.no_grad():
        first = model(input_ids=ids[:, :5], use_cache=True)
        rest = model(input_ids=ids[:, 5:], past_key_values=first.past_key_values)
    torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), whole)


@pytest.mark.parametrize(
    ("name", "start", "skips"),
    [("bert", 0, False), ("gpt2", 0, False), ("roberta", 2, True), ("opt", 0, True)],
)
def test_ways_to_number(name, start, skips):
    model = FAMILIES[name].build().train()
    found = numbering_of(model)
    assert (found.start, found.skips_padding) == (start, skips)
    assert found.padding == (start - 1 if skips else None)
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_decoder_of_a_pair():
    model = FAMILIES["bart"].build()
    found = numbering_of(model)
    assert found == Numbering(stack="decoder.embed_positions", by_row=False)
    inputs = example_inputs(model)
    table = model.decoder.embed_positions
    expected = table(inputs["decoder_input_ids"], past_key_values_length=4)
    seen = []
    handle = shift_positions(model, found, By(4))
    table.register_forward_hook(lambda module, args, output: seen.append(output))
    tiny.hidden(model, inputs)
    torch.testing.assert_close(seen[0], expected[:1])
    handle.remove()


def test_numbers():
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    given = {"input_ids": torch.ones(2, 4), "attention_mask": mask}
    plain = Numbering(stack="", start=2)
    assert plain.numbers(given).tolist() == [[2, 3, 4, 5]] * 2
    cache = type("Cache", (), {"get_seq_length": lambda self: 9})()
    behind = plain.numbers(given | {"past_key_values": cache}, inserted=3)
    assert behind.tolist() == [[8, 9, 10, 11]] * 2
    skipping = Numbering(stack="", start=2, skips_padding=True)
    assert skipping.numbers(given).tolist() == [[2, 2, 2, 3], [2, 3, 4, 4]]
    rest = given | {"input_ids": torch.ones(2, 1)}
    assert skipping.numbers(rest).tolist() == [[3], [4]]
    with pytest.raises(SiteError, match="the attention mask is not .batch, positions."):
        skipping.numbers(given | {"attention_mask": mask[:, None]})


@pytest.mark.parametrize(
    ("name", "why"), [("t5", "stack 'decoder'"), ("vit", "takes position_ids")]
)
def test_models_that_cannot(name, why):
    with pytest.raises(SiteError, match=why):
        numbering_of(FAMILIES[name].build())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_prefix_that_takes_positions_is_a_filled_cache(kind):
    model, ids = tiny.decoder(kind), tiny.batch(rows=1)["input_ids"]
    method = inlay.Prefix(length=3, inner_width=None, takes_positions=True)
    entry = inlay.attach(model).add("a", method)
    tiny.stir(entry)
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    filled = [
        tuple(x.detach().view(1, 3, heads, -1).transpose(1, 2) for x in layer())
        for layer in entry.layers.values()
    ]
    with torch.no_grad():
        wanted = model(input_ids=ids, past_key_values=hf.DynamicCache(filled)).logits
    model.adapters.use("a")
    torch.testing.assert_close(tiny.hidden(model, {"input_ids": ids}), wanted)
    model.adapters.remove("a")
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_attentions_that_know_distances_only():
    model = FAMILIES["t5"].build()
    assert weighs_by_distance(["decoder.block.1.layer.0.SelfAttention"], model)
    assert not weighs_by_distance(["layers.0.self_attn"], tiny.decoder().model)


def test_a_prefix_that_takes_positions_is_refused_where_there_are_none():
    model = FAMILIES["clip"].build()
    inlay.attach(model)
    method = inlay.Prefix(length=3, inner_width=None, takes_positions=True)
    with pytest.raises(SiteError, match="takes_positions=True: words cannot be moved"):
        model.adapters.add("a", method)
    assert model.adapters.names == ()
