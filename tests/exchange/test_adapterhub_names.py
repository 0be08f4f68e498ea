"""The peer's names of modules lead to the sites of this model, also where its names differ."""

import dataclasses

import pytest
import transformers as hf

import inlay
from inlay.errors import FormatError
from inlay.exchange.adapterhub_names import Finder, taken_apart
from inlay.sites.sitemap import SiteMap
from tests.contracts import tiny

SMALL = {"d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 40,
         "decoder_ffn_dim": 40, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
         "vocab_size": 97, "max_position_embeddings": 40}  # fmt: skip


def bart():
    return tiny.perturbed(hf.BartModel(hf.BartConfig(**SMALL)))


def distilled():
    config = hf.DistilBertConfig(dim=24, n_layers=2, n_heads=4, hidden_dim=40, vocab_size=97)
    return tiny.perturbed(hf.DistilBertModel(config))


def shared():
    config = hf.AlbertConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
        vocab_size=97, embedding_size=12,
    )  # fmt: skip
    return tiny.perturbed(hf.AlbertModel(config))


def picture():
    config = hf.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
        image_size=8, patch_size=4,
    )  # fmt: skip
    return tiny.perturbed(hf.ViTModel(config))


MODELS = {
    "encoder": tiny.encoder, "classifier": tiny.classifier, "llama": tiny.decoder,
    "gpt2": lambda: tiny.decoder("gpt2"), "bart": bart, "distilled": distilled, "shared": shared,
    "picture": picture,
}  # fmt: skip
RESIDUAL = [
    ("encoder", "encoder.layer.1.attention.output", "1.attention"),
    ("encoder", "bert.encoder.layer.2.output", "2.ffn"),
    ("classifier", "encoder.layer.1.output", "1.ffn"),
    ("classifier", "bert.encoder.layer.0.attention.output", "0.attention"),
    ("encoder", "encoder.layer.1.attention_adapters", "1.attention"),
    ("llama", "layers.1.output_adapters", "1.ffn"),
    ("llama", "model.layers.1.attention_adapters", "1.attention"),
    ("gpt2", "h.0.output_adapters", "0.ffn"),
    ("gpt2", "transformer.h.2.attention_adapters", "2.attention"),
    ("bart", "encoder.layers.1.output_adapters", "encoder.1.ffn"),
    ("bart", "model.decoder.layers.0.cross_attention_adapters", "decoder.0.cross_attention"),
    ("distilled", "distilbert.transformer.layer.1.attention_adapters", "1.attention"),
    ("shared", "encoder.albert_layer_groups.0.albert_layers.0.output_adapters", "0.ffn"),
    (
        "shared", "albert.encoder.albert_layer_groups.0.albert_layers.0.attention."
        "attention_adapters", "0.attention",
    ),
    ("picture", "encoder.layer.1.output.output_adapters", "1.ffn"),
    ("picture", "vit.encoder.layer.0.attention_adapters", "0.attention"),
]  # fmt: skip
LINEAR = [
    ("encoder", "bert.encoder.layer.1.attention.self.query", "1.attention.q"),
    ("encoder", "encoder.layer.1.intermediate.dense", "1.ffn.up"),
    ("encoder", "encoder.layer.1.output.dense", "1.ffn.down"),
    ("encoder", "encoder.layer.1.attention.output.dense", "1.attention.o"),
    ("llama", "model.layers.2.self_attn.v_proj", "2.attention.v"),
    ("gpt2", "h.0.attn.c_attn", "0.attention.qkv"),
    ("gpt2", "h.0.mlp.c_proj", "0.ffn.down"),
    ("bart", "decoder.layers.1.encoder_attn.q_proj", "decoder.1.cross_attention.q"),
    ("bart", "decoder.layers.1.self_attn.q_proj", "decoder.1.attention.q"),
    ("bart", "encoder.layers.1.fc1", "encoder.1.ffn.up"),
    ("distilled", "transformer.layer.0.ffn.lin2", "0.ffn.down"),
    ("shared", "encoder.albert_layer_groups.0.albert_layers.0.ffn", "0.ffn.up"),
    ("picture", "encoder.layer.1.attention.attention.key", "1.attention.k"),
    ("picture", "encoder.layer.1.attention.output.dense", "1.attention.o"),
    ("picture", "encoder.layer.1.intermediate.dense", "1.ffn.up"),
    ("picture", "encoder.layer.1.output.dense", "1.ffn.down"),
]


@pytest.fixture(scope="module")
def finders():
    found = {}
    for name, build in MODELS.items():
        model = build()
        found[name] = Finder(model, inlay.attach(model).sites)
    return found


def name_of(owner, marker="adapters"):
    return taken_apart("folder", [f"{owner}.{marker}.a.b.weight"], "a")[0]


@pytest.mark.parametrize(("model", "owner", "site"), RESIDUAL)
def test_sublayers(finders, model, owner, site):
    assert finders[model].residual(name_of(owner), "folder").name == site


@pytest.mark.parametrize(("model", "owner", "site"), LINEAR)
def test_linear_maps(finders, model, owner, site):
    assert finders[model].linear(name_of(owner, "loras"), "folder").name == site


@pytest.mark.parametrize(
    ("model", "owner", "message"),
    [
        ("encoder", "encoder.layer.7.output", "has no block; it has 3"),
        (
            "encoder",
            "decoder.layers.1.output_adapters",
            "'decoder.layers.1.output_adapters', where",
        ),
        ("picture", "decoder.layers.1.output_adapters", "where this model has no block"),
        ("bart", "layers.1.output_adapters", "where this model has no block"),
        ("encoder", "encoder.layer.1.cross_attention_adapters", "has no place on this model"),
        ("encoder", "encoder.layer.1.pooler", "has no place on this model; sites of that block"),
        ("encoder", "", "belongs to 'the model itself'"),
    ],
)
def test_places_that_a_model_lacks(finders, model, owner, message):
    with pytest.raises(FormatError, match=message):
        finders[model].residual(name_of(owner) if owner else _bare(), "folder")
    with pytest.raises(FormatError, match="1.self_attn.nothing.*has no place on this model"):
        finders["llama"].linear(name_of("layers.1.self_attn.nothing", "loras"), "folder")


def _bare():
    return taken_apart("folder", ["adapters.a.b"], "a")[0]


def test_output_and_stream_in_each_others_place(finders):
    owner = "encoder.albert_layer_groups.0.albert_layers.0.attention.attention_adapters"
    assert finders["shared"].is_swapped(name_of(owner))
    assert not finders["distilled"].is_swapped(name_of("transformer.layer.0.attention_adapters"))


def test_sublayers_side_by_side(finders):
    model = tiny.perturbed(
        hf.GPTJModel(
            hf.GPTJConfig(n_embd=24, n_layer=2, n_head=4, rotary_dim=4, vocab_size=97,
                          n_positions=40)
        )
    )  # fmt: skip
    parallel = Finder(model, inlay.attach(model).sites)
    assert parallel.is_beside(parallel.sites["1.ffn"])
    assert not parallel.is_beside(parallel.sites["1.attention"])
    for name in ("encoder", "llama", "bart"):
        assert not any(finders[name].is_beside(s) for s in finders[name].sites if s.is_residual)


def test_two_sites_at_one_module(finders):
    own = finders["llama"].sites
    same = [
        dataclasses.replace(site, module="model.layers.1.drop") if site.is_residual else site
        for site in own
    ]
    finder = Finder(tiny.decoder(), SiteMap(tuple(same)))
    with pytest.raises(FormatError, match="'1.ffn' and '1.attention' are outputs of one module"):
        finder.residual(name_of("layers.1.output_adapters"), "folder")


def test_submodels_of_what_is_in_no_block(finders):
    assert finders["bart"].submodel("model.encoder") == "encoder"
    assert finders["encoder"].submodel("") == ""


def test_names_are_taken_apart():
    key = "bert.encoder.layer.1.output.adapters.a.adapter_up.weight"
    name = taken_apart("folder", [key], "a")[0]
    assert (name.owner, name.marker) == ("bert.encoder.layer.1.output", "adapters")
    assert (name.tail, name.key) == ("adapter_up.weight", key)
    odd = taken_apart("folder", ["x.output_adapters.adapters.adapters.w"], "adapters")[0]
    assert (odd.owner, odd.tail) == ("x.output_adapters", "w")


def test_a_weight_of_the_base_is_refused():
    with pytest.raises(FormatError, match="'x.LayerNorm.weight' is no adapter's; .* overwritten"):
        taken_apart("folder", ["x.LayerNorm.weight"], "a")
    with pytest.raises(FormatError, match="is of adapter 'b', but the config is of 'a'"):
        taken_apart("folder", ["x.adapters.b.w"], "a")
