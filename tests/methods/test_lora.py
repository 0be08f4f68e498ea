"""LoRA's settings: which map gets which rank and scale."""

import copy

import pytest
import torch

import inlay
from inlay.errors import ConfigError
from inlay.methods.base import Place
from inlay.methods.lora import LoRA
from inlay.methods.parse import method_from_settings, parse_method
from tests.contracts import tiny
from tests.contracts.families import FAMILIES

PLACES = {
    "0.attention.q": Place(width=9, in_width=14, kind="q"),
    "0.ffn.up": Place(width=20, in_width=14, kind="up"),
    "1.ffn.up": Place(width=20, in_width=14, kind="up"),
}


def built(**settings):
    return LoRA(**settings).build(PLACES["0.attention.q"])


def test_parameter_count_and_start():
    layer = built(rank=3)
    assert sum(p.numel() for p in layer.parameters()) == 3 * (9 + 14)
    assert not layer.b.any()
    assert layer.a.abs().max() <= 1 / 14**0.5, "Kaiming uniform, as a linear map starts"


def test_scales():
    assert built(rank=4, alpha=6.0).scale == 1.5
    assert built(rank=4, alpha=6.0, scale="alpha/sqrt(rank)").scale == 3.0


def test_ranks_and_alphas_by_kind_and_by_name():
    method = LoRA(
        rank=4, alpha=6.0, ranks={"up": 2, "1.ffn.up": 9}, alphas={"q": 1.0, "0.ffn.up": 3.0},
        scale="alpha/sqrt(rank)",
    )  # fmt: skip
    layers = method.build_all(PLACES)
    assert {name: len(layer.a) for name, layer in layers.items()} == {
        "0.attention.q": 4, "0.ffn.up": 2, "1.ffn.up": 9,
    }  # fmt: skip
    assert [layer.scale for layer in layers.values()] == [1 / 2, 3 / 2**0.5, 6 / 3]
    counted = sum(p.numel() for layer in layers.values() for p in layer.parameters())
    assert counted == 4 * (9 + 14) + (2 + 9) * (20 + 14)


def test_as_text_and_as_plain_data():
    text = 'lora[rank=3, ranks={"q": 4, "0.ffn.up": 2}, scale=alpha/sqrt(rank), magnitude=true]'
    method = parse_method(text).method
    assert method == LoRA(
        rank=3, ranks={"q": 4, "0.ffn.up": 2}, scale="alpha/sqrt(rank)", magnitude=True
    )
    assert method_from_settings(method.settings()) == method


def test_a_key_that_matches_nothing():
    adapters = inlay.attach(tiny.encoder())
    with pytest.raises(ConfigError, match=r"LoRA\(ranks=.*'gate' is no site .* Kinds: q, up; si"):
        adapters.add("a", LoRA(ranks={"gate": 3}), at="q, up")
    with pytest.raises(ConfigError, match=r"LoRA\(alphas=.*'0.ffn.up' is no site .*Did you mean"):
        adapters.add("a", LoRA(alphas={"0.ffn.up": 3.0}), at="q, up", layers="1-2")
    assert adapters.names == ()


def test_what_needs_the_weight_says_so():
    for settings, named in (({"init": "pissa"}, "init='pissa'"), ({"magnitude": True}, "magni")):
        with pytest.raises(ConfigError, match=f"{named}.* at 'q' computes with the map's own wei"):
            built(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 0}, r"LoRA\(rank=0\): rank must be at least 1"),
        ({"dropout": 1.5}, "dropout is a fraction"),
        ({"scale": "alpha"}, "scale is one of 'alpha/rank', 'alpha/sqrt"),
        ({"init": "svd"}, "init is one of 'kaiming', 'orthogonal', 'pissa'"),
        ({"magnitude": "yes"}, "magnitude is one of True, False"),
        ({"ranks": 3}, "ranks is a mapping from kinds or names"),
        ({"alphas": [3]}, "alphas is a mapping from kinds or names"),
        ({"ranks": {"q": 0}}, r"ranks\['q'\] must be at least 1"),
        ({"ranks": {"q": 2.5}}, "'q' has 2.5; a rank is a whole number"),
        ({"alphas": {"q": "much"}}, "the alpha of 'q' is 'much'; it is a number"),
        ({"init": "pissa", "alpha": 0.0}, "alpha=0.0.*takes a scale above 0"),
        ({"init": "pissa", "alphas": {"q": -1.0}}, r"alphas\['q'\]=-1.0.*a scale above 0"),
    ],
)
def test_wrong_values(settings, said):
    with pytest.raises(ConfigError, match=said):
        LoRA(**settings)


def test_wrong_places():
    with pytest.raises(ConfigError, match="'ffn', a site of kind 'ffn', is none that it can"):
        LoRA().build(Place(width=9))
    adapters = inlay.attach(tiny.encoder())
    with pytest.raises(ConfigError, match="rank=25.* has only 24 singular values; give a smaller"):
        adapters.add("a", LoRA(init="pissa", rank=25), at="q")


def test_at_a_table_of_words():
    """As in the authors' code `A` starts at zero there, and a word's row of `A` is looked up."""
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    entry = adapters.add("a", LoRA(rank=3, alpha=7.0), at="embedding")
    (layer,) = entry.layers.values()
    assert entry.num_adapter_parameters == 3 * (97 + 24)
    assert not layer.a.any()
    assert layer.b.any()
    tiny.stir(entry)
    words = tiny.batch()["input_ids"]
    with adapters.using("a"):
        found = model.embeddings.word_embeddings(words)
    table = model.embeddings.word_embeddings.weight
    one_hot = torch.nn.functional.one_hot(words, 97).double()
    wanted = one_hot @ (table + 7 / 3 * (layer.b @ layer.a).T)
    torch.testing.assert_close(found, wanted)


def test_at_a_convolution():
    """The paper's update of the kernel as a matrix over the patches that it sees."""
    model = FAMILIES["whisper"].build().double()
    adapters = inlay.attach(model)
    sites = {site.name: site for site in adapters.sites if site.kind == "kernel"}
    assert [(s.submodel, s.width, s.in_width) for s in sites.values()] == [
        ("encoder", 32, 16 * 3), ("encoder", 32, 32 * 3),
    ]  # fmt: skip
    entry = adapters.add("a", LoRA(rank=3, alpha=7.0), at="kernel")
    assert entry.num_adapter_parameters == 3 * (16 * 3 + 32) + 3 * (32 * 3 + 32)
    tiny.stir(entry)
    for name, site in sites.items():
        module, layer = model.get_submodule(site.module), entry.layers[name]
        x = torch.randn(2, module.in_channels, 12, dtype=torch.float64)
        with adapters.using("a"):
            found = module(x)
        update = (7 / 3 * layer.b @ layer.a).view_as(module.weight)
        changed = copy.deepcopy(module)
        changed.weight.data = module.weight + update
        torch.testing.assert_close(found, changed(x))


@pytest.mark.parametrize("at", ["embedding", "kernel"])
@pytest.mark.parametrize("settings", [{"magnitude": True}, {"gate": True}])
def test_what_only_a_linear_map_can_have(at, settings):
    adapters = inlay.attach(FAMILIES["whisper"].build())
    with pytest.raises(ConfigError, match="only a linear map can have that"):
        adapters.add("a", LoRA(**settings), at="decoder.embedding" if at == "embedding" else at)


def test_vectors_that_come_from_no_table():
    adapters = inlay.attach(FAMILIES["whisper"].build())
    with pytest.raises(ConfigError, match="needs a linear map, a table or a convolution"):
        adapters.add("a", LoRA(), at="encoder.embedding")


def test_dropout_at_a_table_is_of_what_a_word_becomes():
    model = tiny.encoder()
    entry = inlay.attach(model).add("a", LoRA(rank=50, dropout=0.5), at="embedding")
    tiny.stir(entry)
    (layer,) = entry.layers.values()
    words = torch.tensor([[5, 6]])
    layer.train()
    dropped = layer.reduce(words, layer.a)
    layer.eval()
    ratio = dropped / layer.reduce(words, layer.a)
    assert set(ratio.flatten().round().tolist()) == {0.0, 2.0}


def test_what_was_saved_is_not_worked_out_again(tmp_path, monkeypatch):
    """A decomposition of every map would make loading slow; the start is in the file."""
    model = tiny.encoder()
    tiny.stir(inlay.attach(model).add("a", LoRA(rank=2, init="pissa")))
    model.adapters.use("a")
    inlay.save(model, "a", tmp_path / "a")
    monkeypatch.setattr("inlay.methods.lora_layer.nearest_low_rank", None)
    fresh = tiny.encoder()
    inlay.load(fresh, tmp_path / "a")
    fresh.adapters.use("a")
    assert torch.equal(tiny.hidden(fresh, tiny.batch()), tiny.hidden(model, tiny.batch()))
    with pytest.raises(TypeError, match="not callable"):
        fresh.adapters.add("b", LoRA(rank=2, init="pissa"))
