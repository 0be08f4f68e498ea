import pytest
import torch
import transformers as hf

import inlay
from tests.contracts import tiny
from tests.contracts.families import FAMILIES


def outer(model):
    return [s for s in inlay.probe(model) if s.is_linear and s.block is None]


def test_a_pooler_has_one_name_under_every_class():
    (bare,) = outer(tiny.encoder())
    (task,) = outer(tiny.classifier())
    assert (bare.name, bare.module, bare.kind) == ("pooler.dense", "pooler.dense", "other")
    assert (task.name, task.module) == ("pooler.dense", "bert.pooler.dense")
    assert (task.in_width, task.width) == (24, 24)


def test_heads_are_left_out():
    assert [site.name for site in outer(tiny.classifier())] == ["pooler.dense"]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_logits_of_words_are_an_lm_head(kind):
    (site,) = outer(tiny.decoder(kind))
    assert (site.name, site.kind, site.width, site.in_width) == ("lm_head", "lm_head", 97, 24)


def test_an_lm_head_is_the_decoders_and_no_linear_map_of_a_block():
    torch.manual_seed(1)
    config = FAMILIES["bart"].config
    model = tiny.perturbed(hf.BartForConditionalGeneration(config))
    sites = inlay.probe(model)
    assert (sites["lm_head"].submodel, sites["lm_head"].kind) == ("decoder", "lm_head")
    entry = inlay.attach(model).add("a", inlay.LoRA(rank=2), at="linear")
    assert "lm_head" not in entry.layers


def test_a_lora_at_a_tied_lm_head_leaves_the_word_vectors_alone():
    model = tiny.decoder("gpt2")
    assert model.lm_head.weight is model.transformer.wte.weight
    inlay.attach(model)
    tiny.stir(model.adapters.add("a", inlay.LoRA(rank=2), at="lm_head"))
    inputs = tiny.batch()
    last = model.transformer(**inputs)[0]
    model.adapters.use("a")
    update = model.adapters.entry("a").layers["lm_head"].weight_update()
    with torch.no_grad():
        logits = model(**inputs).logits
    torch.testing.assert_close(logits, last @ (model.lm_head.weight + update).T)


def test_maps_of_several_stacks_belong_to_the_one_before_them():
    torch.manual_seed(1)
    tower = {
        "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 40, "projection_dim": 16,
    }  # fmt: skip
    config = hf.CLIPConfig(
        text_config={**tower, "vocab_size": 97, "eos_token_id": 2},
        vision_config={**tower, "image_size": 16, "patch_size": 8}, projection_dim=16,
    )  # fmt: skip
    found = {site.name: site.submodel for site in outer(tiny.perturbed(hf.CLIPModel(config)))}
    assert found == {"visual_projection": "vision_model", "text_projection": "text_model"}


def test_a_lora_acts_there():
    model = tiny.classifier()
    tiny.stir(inlay.attach(model).add("a", inlay.LoRA(rank=2), at="pooler.dense"))
    before = tiny.hidden(model, tiny.batch())
    model.adapters.use("a")
    pooled = {}
    model.bert.pooler.dense.register_forward_hook(lambda m, x, y: pooled.update(x=x[0], y=y))
    after = tiny.hidden(model, tiny.batch())
    assert not torch.equal(before, after)
    layer = model.adapters.entry("a").layers["pooler.dense"]
    weight = model.bert.pooler.dense.weight + layer.weight_update()
    torch.testing.assert_close(
        pooled["y"], torch.nn.functional.linear(pooled["x"], weight, model.bert.pooler.dense.bias)
    )


def test_the_convolution_that_makes_patches():
    config = hf.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40,
        image_size=16, patch_size=4,
    )  # fmt: skip
    for model in (hf.ViTModel(config), hf.ViTForImageClassification(config)):
        (site,) = (s for s in inlay.probe(tiny.perturbed(model)) if s.kind == "kernel")
        assert site.name == "embeddings.patch_embeddings.projection"
        assert (site.width, site.in_width, site.channel_dim) == (24, 3 * 4 * 4, 1)
        assert not site.is_linear, "linear does not name it"


def test_a_convolution_belongs_to_the_stack_behind_it():
    sites = inlay.probe(FAMILIES["clip"].build())
    assert [s.submodel for s in sites if s.kind == "kernel"] == ["vision_model"]
