"""A written LoRA, as PEFT's formula takes it: added to the base's weights by hand."""

import copy
import re

import pytest
import torch
from safetensors.torch import load_file

import inlay
from inlay.errors import FormatError
from inlay.exchange.peft_lora_writing import write_lora
from inlay.exchange.peft_writing import save_peft
from inlay.methods.lora_layer import LoRALayer
from inlay.sites.example import example_inputs
from tests.contracts import tiny
from tests.contracts.families import FAMILIES

START = "base_model.model."
PATTERNS = {"rank_pattern": {}, "alpha_pattern": {}}


def adapted(model, method, at="q, v", **where):
    adapters = inlay.attach(model)
    tiny.stir(adapters.add("a", method, at=at, copy_heads=False, **where))
    return adapters, adapters.entry("a")


def of_module(options, name, path):
    """Return a module's own rank or alpha; patterns match a whole path here."""
    plain = {"rank_pattern": options["r"], "alpha_pattern": options["lora_alpha"]}
    fits = [n for pattern, n in options[name].items() if re.match(rf"{pattern}$", path)]
    assert len(fits) < 2
    return fits[0] if fits else plain[name]


def scale_of(options, path):
    rank = of_module(options, "rank_pattern", path)
    return of_module(options, "alpha_pattern", path) / (
        rank**0.5 if options["use_rslora"] else rank
    )


def merged(model, options, tensors):
    """Return the base with what the file says added to its matrices."""
    model = copy.deepcopy(model)
    for key in [key for key in tensors if key.endswith((".lora_A.weight", "embedding_A"))]:
        path = key.removeprefix(START).rpartition(".lora_")[0]
        a, b = tensors[key], tensors[key.replace("_A", "_B")]
        assert len(a) == of_module(options, "rank_pattern", path)
        weight = model.get_submodule(path).weight
        update = scale_of(options, path) * (b.double().flatten(1) @ a.double().flatten(1))
        turned = "lora_embedding" in key or type(model.get_submodule(path)).__name__ == "Conv1D"
        update = update.T if turned else update.view(weight.shape)
        changed = weight.detach().double() + update
        lengths = tensors.get(f"{START}{path}.lora_magnitude_vector")
        if lengths is not None:
            along = 0 if turned else 1
            changed = changed / changed.square().sum(along, keepdim=True).sqrt()
            changed = changed * lengths.double().unsqueeze(along)
        weight.data.copy_(changed)
    return model


def outputs(model, inputs):
    with torch.no_grad():
        return model(**inputs)[0]


def agrees(model, method, *, at="q, v", uniform=False):
    """Check that our outputs are those of the merged base; return what was written."""
    base = copy.deepcopy(model)
    adapters, entry = adapted(model, method, at)
    options, tensors = write_lora(adapters, entry, uniform=uniform)
    inputs = example_inputs(model)
    before = outputs(model, inputs)
    adapters.use("a")
    ours = outputs(model, inputs)
    assert (ours - before).abs().max() > 1e-3
    expected = outputs(merged(base, options, tensors), inputs)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    return options, tensors


CASES = {
    "plain": ("lora[rank=3,alpha=5]", {"r": 3, "lora_alpha": 5, **PATTERNS}),
    "root": (
        "lora[rank=3,alpha=5,scale=alpha/sqrt(rank)]",
        {"r": 3, "lora_alpha": 5, "use_rslora": True, **PATTERNS},
    ),
    "dora": ("lora[rank=3,magnitude=true]", {"r": 3, "lora_alpha": 16, "use_dora": True}),
    "pissa": ("lora[rank=3,init=pissa]", {"r": 6, "lora_alpha": 32, "init_lora_weights": True}),
    "dropout": (inlay.LoRA(rank=2, dropout=0.25), {"lora_dropout": 0.25, "use_rslora": False}),
}


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("case", CASES)
def test_the_file_says_what_is_added_to_the_weights(case, kind):
    method, expected = CASES[case]
    if kind == "bert":
        options, _ = agrees(tiny.encoder(), method)
    else:
        options, _ = agrees(tiny.decoder("gpt2"), method, at="linear")
    assert expected.items() <= options.items()
    assert options["fan_in_fan_out"] is (kind == "gpt2")
    assert isinstance(options["lora_alpha"], int), "whole but for rounding"


def test_a_rank_and_an_alpha_of_one_map_are_named_by_its_whole_path():
    method = inlay.LoRA(rank=3, alpha=1.5, ranks={"1.attention.v": 5}, alphas={"0.attention.q": -7})
    options, _ = agrees(tiny.encoder(), method)
    assert (options["r"], options["lora_alpha"]) == (3, 1.5)
    path = r"^encoder\.layer\."
    assert options["rank_pattern"] == {rf"{path}1\.attention\.self\.value": 5}
    assert options["alpha_pattern"] == {rf"{path}0\.attention\.self\.query": -7}
    assert options["target_modules"] == sorted(
        f"encoder.layer.{i}.attention.self.{x}" for i in range(3) for x in ("query", "value")
    )


@pytest.mark.parametrize("scale", ["alpha/rank", "alpha/sqrt(rank)"])
def test_one_rank_and_one_scale_for_all(scale):
    alphas = {"0.attention.q": -20, "2.attention.v": 0}
    method = inlay.LoRA(rank=3, alpha=6, scale=scale, ranks={"v": 4}, alphas=alphas)
    options, tensors = agrees(tiny.encoder(), method, uniform=True)
    assert PATTERNS.items() <= options.items()
    assert (options["r"], options["use_rslora"]) == (4, False)
    assert {tensor.shape[0] for key, tensor in tensors.items() if "lora_A" in key} == {4}
    query = tensors[f"{START}encoder.layer.1.attention.self.query.lora_A.weight"]
    assert not query[3:].any(), "a smaller rank is filled up with zeros"
    value = tensors[f"{START}encoder.layer.2.attention.self.value.lora_B.weight"]
    assert not value.any(), "a scale of zero is a B of zero"


def test_one_scale_where_all_are_zero():
    adapters, entry = adapted(tiny.encoder(), inlay.LoRA(rank=2, alpha=0))
    options, tensors = write_lora(adapters, entry, uniform=True)
    assert options["lora_alpha"] == 0
    for site, layer in entry.layers.items():
        path = f"{START}{adapters.sites[site].module}"
        assert torch.equal(tensors[f"{path}.lora_B.weight"], layer.b)


def test_a_table():
    options, tensors = agrees(tiny.decoder(), "lora[rank=3]", at="embedding, q")
    table = f"{START}model.embed_tokens.lora_embedding"
    assert tensors[f"{table}_A"].shape == (3, 97)
    assert tensors[f"{table}_B"].shape == (24, 3)
    assert "model.embed_tokens" in options["target_modules"]
    assert options["fan_in_fan_out"] is False


def test_a_convolution():
    options, tensors = agrees(FAMILIES["vit"].build(), "lora[rank=3]", at="kernel")
    (path,) = options["target_modules"]
    assert tensors[f"{START}{path}.lora_A.weight"].shape == (3, 3, 8, 8)
    assert tensors[f"{START}{path}.lora_B.weight"].shape == (32, 3, 1, 1)


def test_lengths_are_those_of_the_rows():
    model = tiny.encoder()
    adapters, entry = adapted(model, "lora[rank=2,magnitude=true]", at="1.ffn.up")
    _, tensors = write_lora(adapters, entry, uniform=False)
    path = "encoder.layer.1.intermediate.dense"
    (layer,) = entry.layers.values()
    assert isinstance(layer, LoRALayer)
    own = torch.stack([row.norm() for row in model.get_submodule(path).weight.detach()])
    assert layer.magnitude.abs().max() > 0.01
    lengths = tensors[f"{START}{path}.lora_magnitude_vector"]
    torch.testing.assert_close(lengths, own + layer.magnitude)


def test_what_is_read_again(tmp_path):
    model, inputs = tiny.encoder(), tiny.batch()
    method = inlay.LoRA(rank=2, alpha=3, ranks={"v": 4}, scale="alpha/sqrt(rank)")
    adapters, entry = adapted(model, method)
    adapters.use("a")
    expected = tiny.hidden(model, inputs)
    save_peft(model, "a", tmp_path / "b")
    assert len(load_file(tmp_path / "b" / "adapter_model.safetensors")) == 12
    again = tiny.encoder()
    name = inlay.load(again, tmp_path / "b")
    again.adapters.use(name)
    assert torch.equal(tiny.hidden(again, inputs), expected)
    own, read = entry.tensors(), again.adapters.entry("b").tensors()
    assert own.keys() == read.keys()
    assert all(torch.equal(tensor, read[key]) for key, tensor in own.items())


def test_layers_of_another_method():
    adapters, entry = adapted(tiny.encoder(), "ia3", at="q")
    with pytest.raises(FormatError, match=r"site '0.attention.q': \w+ has no form in PEFT's LoRA"):
        write_lora(adapters, entry, uniform=False)
