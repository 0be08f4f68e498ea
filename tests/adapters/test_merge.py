"""A merged adapter gives what it gave before, and unmerging is exact."""

import pytest
import torch
import transformers as hf

import inlay
from inlay.errors import AdapterError, CompositionError
from tests.contracts import tiny

VARIANTS = {
    "plain": inlay.LoRA(rank=3, alpha=7),
    "ranks": inlay.LoRA(rank=3, ranks={"o": 5}, alphas={"up": 2.0}, scale="alpha/sqrt(rank)"),
    "pissa": inlay.LoRA(rank=3, alpha=7, init="pissa"),
    "magnitude": inlay.LoRA(rank=3, alpha=7, magnitude=True),
    "both": inlay.LoRA(rank=3, alpha=7, init="pissa", magnitude=True),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("kind", "at"), [("llama", "linear"), ("gpt2", "qkv, o, up, down")])
def test_merge_and_exact_unmerge(kind, at, variant):
    model = tiny.decoder(kind)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    tensors = {name: p.data_ptr() for name, p in model.named_parameters()}
    inlay.attach(model)
    tiny.stir(model.adapters.add("a", VARIANTS[variant], at=at))
    model.adapters.use("a")
    inputs = {"input_ids": torch.tensor([[5, 9, 14, 22]])}
    before = tiny.hidden(model, inputs)
    model.adapters.merge("a")
    assert not any(m._forward_hooks for m in model.modules()), "a merged adapter costs nothing"
    torch.testing.assert_close(tiny.hidden(model, inputs), before, atol=1e-4, rtol=1e-3)
    model.adapters.unmerge()
    assert torch.equal(tiny.hidden(model, inputs), before)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in weights.items())
    assert all(model.get_parameter(name).data_ptr() == at for name, at in tensors.items())


def test_what_cannot_be_merged_is_refused():
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("b", "bottleneck")
    model.adapters.add("l", "lora")
    model.adapters.add("m", "lora")
    with pytest.raises(AdapterError, match="'bottleneck', which cannot be merged"):
        model.adapters.merge("b")
    model.adapters.use("b")
    with pytest.raises(AdapterError, match="'b' is active; call use"):
        model.adapters.merge("l")
    model.adapters.use(None)
    model.adapters.merge("l")
    with pytest.raises(CompositionError, match="'l' is merged into the base; call unmerge"):
        model.adapters.use("m")
    with pytest.raises(AdapterError, match="'l' is active"):
        model.adapters.merge("m")


def test_saving_a_merged_adapter_names_the_base(tmp_path):
    model = tiny.encoder()
    inlay.attach(model)
    tiny.stir(model.adapters.add("a", "lora"))
    model.adapters.merge("a")
    inlay.save(model, "a", tmp_path / "a")
    fresh = tiny.encoder()
    assert inlay.load(fresh, tmp_path / "a") == "a"


def test_removing_a_merged_adapter_restores():
    model = tiny.encoder()
    before = tiny.hidden(model, tiny.batch())
    inlay.attach(model)
    tiny.stir(model.adapters.add("a", "lora"))
    model.adapters.merge("a")
    assert not torch.equal(tiny.hidden(model, tiny.batch()), before)
    model.adapters.remove("a")
    assert torch.equal(tiny.hidden(model, tiny.batch()), before)


def test_what_is_made_while_merged_knows_the_base_s_own_weights():
    model, apart = tiny.encoder(), tiny.encoder()
    for one in (model, apart):
        inlay.attach(one)
    tiny.stir(model.adapters.add("a", "lora"))
    model.adapters.merge("a")
    settings = inlay.LoRA(rank=2, init="pissa", magnitude=True)
    made = model.adapters.add("b", settings, at="q").tensors()
    for key, tensor in apart.adapters.add("b", settings, at="q").tensors().items():
        assert torch.equal(made[key], tensor)
    model.adapters.unmerge()


def test_the_merged_weight_is_the_papers():
    """DoRA's lengths are those of the rows of the new weight, at both kinds of linear map."""
    for kind, at in (("llama", "q"), ("gpt2", "qkv")):
        model = tiny.decoder(kind).double()
        adapters = inlay.attach(model)
        entry = adapters.add("a", inlay.LoRA(rank=3, alpha=7, magnitude=True), at=at)
        tiny.stir(entry)
        modules = {site: model.get_submodule(adapters.sites[site].module) for site in entry.layers}
        turn = (lambda w: w.T.clone()) if kind == "gpt2" else (lambda w: w.clone())
        old = {site: turn(module.weight.detach()) for site, module in modules.items()}
        adapters.merge("a")
        for site, module in modules.items():
            layer, new = entry.layers[site], turn(module.weight.detach())
            direction = old[site] + 7 / 3 * (layer.b @ layer.a).detach()
            lengths = old[site].norm(dim=1) + layer.magnitude.detach()
            torch.testing.assert_close(new.norm(dim=1), lengths.abs(), atol=1e-12, rtol=1e-10)
            cosines = torch.nn.functional.cosine_similarity(new, direction)
            torch.testing.assert_close(cosines, lengths.sign(), atol=1e-12, rtol=0)


def picture_model(**settings):
    torch.manual_seed(1)
    config = hf.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
        image_size=16, patch_size=4, **settings,
    )  # fmt: skip
    return tiny.perturbed(hf.ViTModel(config)), {"pixel_values": torch.randn(2, 3, 16, 16)}


@pytest.mark.parametrize("variant", ["plain", "ranks", "pissa"])
def test_a_table_and_a_convolution_merge_exactly_too(variant):
    settings = {"plain": {}, "ranks": {"scale": "alpha/sqrt(rank)"}, "pissa": {"init": "pissa"}}
    method = inlay.LoRA(rank=3, alpha=7, **settings[variant])
    for model, inputs, at in (
        (tiny.encoder(), tiny.batch(), "embedding"),
        (*picture_model(), "kernel"),
    ):
        weights = {key: value.clone() for key, value in model.state_dict().items()}
        tiny.stir(inlay.attach(model).add("a", method, at=at))
        base = tiny.hidden(model, inputs)
        model.adapters.use("a")
        before = tiny.hidden(model, inputs)
        assert not torch.allclose(before, base, atol=1e-2)
        model.adapters.merge("a", check=inputs)
        torch.testing.assert_close(tiny.hidden(model, inputs), before, atol=1e-4, rtol=1e-3)
        model.adapters.unmerge()
        assert torch.equal(tiny.hidden(model, inputs), before)
        inlay.detach(model)
        assert all(torch.equal(model.state_dict()[key], value) for key, value in weights.items())


def test_a_weight_that_another_module_uses_is_not_changed_behind_its_back():
    torch.manual_seed(1)
    model = tiny.perturbed(hf.BertForMaskedLM(hf.BertConfig(**tiny.SMALL)))
    adapters = inlay.attach(model)
    tiny.stir(adapters.add("a", inlay.LoRA(rank=2), at="embedding"))
    with pytest.raises(AdapterError, match="shares its weight with 'cls.predictions.decoder'"):
        adapters.merge("a")
    layers = model.bert.encoder.layer
    layers[0].attention.self.query.weight = layers[1].attention.self.query.weight
    before = tiny.hidden(model, tiny.batch())
    tiny.stir(adapters.add("b", inlay.LoRA(rank=2), at="q"))
    with pytest.raises(AdapterError, match="layer.0.attention.self.query' shares its weight with"):
        adapters.merge("b")
    adapters.use(None)
    assert torch.equal(tiny.hidden(model, tiny.batch()), before), "nothing was merged by half"


def test_what_a_gate_multiplies_is_no_weight():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    adapters.add("a", inlay.LoRA(rank=2, gate=True), at="q")
    with pytest.raises(AdapterError, match="'lora' with a gate, which cannot be merged"):
        adapters.merge("a")
