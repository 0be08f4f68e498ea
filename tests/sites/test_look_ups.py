"""Word vectors that the caller gives, while an adapter acts where words are looked up."""

import copy

import pytest
import torch
import transformers as hf

import inlay
from inlay.errors import AdapterError
from inlay.sites.example import example_inputs
from inlay.sites.look_ups import TablePlace, table_places
from tests.contracts import tiny
from tests.contracts.families import FAMILIES

REFUSED = "none were: the model was given word vectors"
WITHOUT = {"clip"}
"""Families that look words up and cannot be given vectors."""
TABLES = {
    name: [s.name for s in family.sites if s.kind == "embedding" and s.point == "out"]
    for name, family in FAMILIES.items()
    if name not in WITHOUT
}
CASES = [(name, site) for name, sites in TABLES.items() for site in sites]


def words_of(site):
    """Return the arguments that hold a stack's words, and its vectors."""
    prefix = "decoder_" if site.startswith("decoder") else ""
    return f"{prefix}input_ids", f"{prefix}inputs_embeds"


def given(model, inputs, site, vectors):
    ids, embeds = words_of(site)
    return {**{key: value for key, value in inputs.items() if key != ids}, embeds: vectors}


def both(model, method="embedding[rank=3]"):
    """Return a model with an adapter at its table, a batch, its layer and the bare vectors."""
    adapters = tiny.attach(model)
    entry = adapters.add("a", method, at="embedding")
    tiny.stir(entry)
    bare = model.get_input_embeddings()(tiny.batch()["input_ids"])
    adapters.use("a")
    return tiny.batch(), entry.layer_at("embedding"), bare


@pytest.mark.parametrize(("name", "site"), CASES)
def test_every_family_takes_what_its_table_gave_and_refuses_other_vectors(name, site):
    torch.manual_seed(3)
    model = FAMILIES[name].build()
    adapters = inlay.attach(model, sites=FAMILIES[name].sites)
    entry = adapters.add("a", "embedding[rank=3]", submodel=adapters.sites[site].submodel)
    tiny.stir(entry)
    layer, table = entry.layer_at(site), model.get_submodule(adapters.sites[site].module)
    inputs = example_inputs(model)
    inputs.setdefault(words_of(site)[0], inputs.get("input_ids"))
    ids = inputs[words_of(site)[0]]
    with torch.no_grad():
        bare = table(ids)
        by_hand = bare + layer.last(layer.inner(bare))
    base = tiny.hidden(model, inputs)
    wanted = tiny.hidden(model, given(model, inputs, site, by_hand))
    assert not torch.allclose(base, wanted, atol=1e-3)
    adapters.use("a")
    torch.testing.assert_close(tiny.hidden(model, inputs), wanted)
    with pytest.raises(AdapterError, match=f"at site '{site}', but {REFUSED}"):
        tiny.hidden(model, given(model, inputs, site, bare))
    with torch.no_grad():
        made = table(ids)
    torch.testing.assert_close(tiny.hidden(model, given(model, inputs, site, made)), wanted)
    with pytest.raises(AdapterError, match=REFUSED):  # that look-up was for one pass
        tiny.hidden(model, given(model, inputs, site, made))
    with adapters.using(None):
        torch.testing.assert_close(tiny.hidden(model, given(model, inputs, site, bare)), base)


@pytest.mark.parametrize("method", ["lora[rank=2]", "invertible", "side"])
def test_all_that_read_or_change_the_words_refuse(method):
    model = tiny.encoder()
    at = {"lora[rank=2]": "embedding"}.get(method)
    tiny.stir(tiny.attach(model).add("a", method, at=at))
    bare = model.embeddings.word_embeddings(tiny.batch()["input_ids"])
    for composition in ("a", inlay.Rows("a", None, None)) if method != "side" else ("a",):
        model.adapters.use(composition)
        tiny.hidden(model, tiny.batch())
        with pytest.raises(AdapterError, match=REFUSED):
            tiny.hidden(model, {"inputs_embeds": bare})


@pytest.mark.parametrize(("method", "at"), [("bottleneck", "ffn"), ("lora", "q"), ("prompt", None)])
def test_what_acts_elsewhere_takes_vectors(method, at):
    model = tiny.decoder()
    tiny.stir(tiny.attach(model).add("a", method, at=at))
    inputs = tiny.batch()
    vectors = model.get_input_embeddings()(inputs["input_ids"])
    model.adapters.use("a")
    found = tiny.hidden(model, {**inputs, "input_ids": None, "inputs_embeds": vectors})
    torch.testing.assert_close(found, tiny.hidden(model, inputs))


def test_a_prompt_in_front_of_changed_words():
    model = tiny.decoder()
    inputs, layer, bare = both(model)
    tiny.stir(model.adapters.add("p", "prompt[length=2]"))
    by_hand = bare + layer.last(layer.inner(bare))
    with model.adapters.using("p"):
        wanted = tiny.hidden(model, {**inputs, "input_ids": None, "inputs_embeds": by_hand})
    model.adapters.use(inlay.Stack("a", "p"))
    torch.testing.assert_close(tiny.hidden(model, inputs), wanted)
    with pytest.raises(AdapterError, match=REFUSED):
        tiny.hidden(model, {**inputs, "input_ids": None, "inputs_embeds": bare})


def test_a_merged_table_is_the_bases_own():
    model = tiny.decoder()
    inputs, layer, _ = both(model, "lora[rank=2]")
    wanted = tiny.hidden(model, inputs)
    rows = model.get_input_embeddings().weight + layer.weight_update().T
    model.adapters.merge("a")
    vectors = rows[inputs["input_ids"]]
    torch.testing.assert_close(
        tiny.hidden(model, {**inputs, "input_ids": None, "inputs_embeds": vectors}), wanted
    )


@pytest.mark.parametrize("is_reentrant", [True, False])
def test_checkpointed_blocks_run_again(is_reentrant):
    gradients = []
    for is_checkpointed in (False, True):
        model = tiny.decoder()
        inputs, layer, _ = both(model)
        model.adapters.train("a")
        model.train()
        if is_checkpointed:
            model.activation_checkpointing_enable({"use_reentrant": is_reentrant})
        logits = model(**inputs, use_cache=False).logits
        logits.square().sum().backward()
        gradients.append(layer.last.weight.grad)
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def fail(module, args):
    raise RuntimeError("broken off")


def test_a_pass_that_broke_off_leaves_no_look_up_behind():
    model = tiny.encoder()
    inputs, _, bare = both(model)
    handle = model.embeddings.LayerNorm.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken off"):
        tiny.hidden(model, inputs)
    handle.remove()
    with pytest.raises(AdapterError, match=REFUSED):
        tiny.hidden(model, {"inputs_embeds": bare})


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_a_part_of_the_model_that_broke_off_leaves_no_look_up_behind(name):
    model = tiny.pair() if name == "t5" else tiny.classifier()
    inputs, _, bare = both(model)
    inputs |= {"decoder_input_ids": inputs["input_ids"]} if name == "t5" else {}
    part = model.get_encoder() if name == "t5" else model.base_model
    place = part.dropout if name == "t5" else part.embeddings.LayerNorm
    wanted = tiny.hidden(model, inputs)
    handle = place.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken off"):
        part(input_ids=inputs["input_ids"])
    handle.remove()
    with pytest.raises(AdapterError, match=REFUSED):
        tiny.hidden(model, given(model, inputs, "embedding", bare))
    torch.testing.assert_close(tiny.hidden(model, inputs), wanted)


def test_words_looked_up_without_the_adapter_are_not_its_own():
    model = tiny.encoder()
    inputs, _, _ = both(model)
    table = model.embeddings.word_embeddings
    table(inputs["input_ids"])
    with model.adapters.using(None):
        bare = table(inputs["input_ids"])
    with pytest.raises(AdapterError, match=REFUSED):
        tiny.hidden(model, {"inputs_embeds": bare})


def test_a_copy_of_the_model_has_look_ups_of_its_own():
    model = tiny.encoder()
    inputs, _, bare = both(model)
    wanted, other = tiny.hidden(model, inputs), copy.deepcopy(model)
    model.embeddings.word_embeddings(inputs["input_ids"])
    with pytest.raises(AdapterError, match=REFUSED):
        tiny.hidden(other, {"inputs_embeds": bare})
    torch.testing.assert_close(tiny.hidden(other, inputs), wanted)


def test_generating_from_vectors_that_were_looked_up():
    model = tiny.decoder()
    inputs, _, bare = both(model)
    mask = torch.ones_like(inputs["input_ids"])
    how = {"attention_mask": mask, "max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    made = model.generate(input_ids=inputs["input_ids"], **how)[:, mask.shape[1] :]
    with torch.no_grad():
        vectors = model.get_input_embeddings()(inputs["input_ids"])
    assert torch.equal(model.generate(inputs_embeds=vectors, **how), made)
    with pytest.raises(AdapterError, match=REFUSED):
        model.generate(inputs_embeds=bare, **how)


def test_a_pair_generates_and_its_encoder_may_run_by_itself():
    torch.manual_seed(2)
    model = tiny.perturbed(hf.AutoModelForSeq2SeqLM.from_config(FAMILIES["t5"].config))
    tiny.stir(inlay.attach(model).add("a", "embedding[rank=3]"))
    model.adapters.use("a")
    ids = tiny.batch()["input_ids"]
    how = {"decoder_start_token_id": 0, "max_new_tokens": 3, "do_sample": False}
    assert len(model.generate(input_ids=ids, **how)) == 3
    with torch.no_grad():
        states = model.get_encoder()(input_ids=ids)
    words = {"decoder_input_ids": ids[:, :4]}
    torch.testing.assert_close(
        tiny.hidden(model, {"encoder_outputs": states, **words}),
        tiny.hidden(model, {"input_ids": ids, **words}),
    )


def test_where_words_are_looked_up():
    sites = FAMILIES["albert"].sites
    block = "encoder.albert_layer_groups.0.albert_layers.0"
    table = "embeddings.word_embeddings"
    assert table_places(sites, [s.name for s in sites]) == [
        TablePlace(site="embedding", table=table, block=block, calls=2)
    ]
    assert table_places(sites, ["0.ffn", "output"]) == []
    assert table_places(FAMILIES["vit"].sites, ["embedding"]) == []
