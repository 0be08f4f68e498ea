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


def test_heads_and_output_words_are_left_out():
    assert outer(tiny.decoder()) == []
    assert outer(tiny.decoder("gpt2")) == []


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
