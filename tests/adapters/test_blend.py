"""Blends on a model: what comes out, what is refused, what is kept in the file."""

import json
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

import inlay
from inlay.errors import AdapterError, ConfigError
from inlay.ops.blending import ties
from tests.contracts import tiny

SHARED = [folder / "shared" for folder in Path(__file__).parents]
GOLDEN = next((s for s in SHARED if s.is_dir()), SHARED[0]) / "golden" / "peft"
TWO = {"a": 0.6, "b": 0.4}


def adapted(model, method, at=None, **settings):
    adapters = inlay.attach(model)
    for seed, name in enumerate(("a", "b")):
        tiny.stir(adapters.add(name, method, at=at, **settings), seed)
    return model


def run(model, composition, inputs):
    with model.adapters.using(composition):
        return tiny.hidden(model, inputs)


def test_a_blend_is_inactive_and_its_parts_stay():
    model = adapted(tiny.encoder(), inlay.LoRA(rank=3, alpha=7.0), "q, v", layers="1-2")
    kept = {key: t.clone() for key, t in model.adapters.entry("a").tensors().items()}
    made = inlay.blend(model, "c", TWO, method="cat")
    assert model.adapters.names == ("a", "b", "c")
    assert model.adapters.active is None
    entry = model.adapters.entry("c")
    assert (entry.method.rank, entry.placement.at, entry.placement.layers) == (6, "q, v", "1-2")
    assert not any(p.requires_grad for p in entry.parameters())
    assert all(torch.equal(t, kept[key]) for key, t in model.adapters.entry("a").tensors().items())
    assert made.record() == {
        "method": "cat", "weights": {"a": 0.6, "b": 0.4}, "heads": "none", "error": 0.0
    }  # fmt: skip


def test_cat_is_the_average_of_what_runs():
    model = adapted(tiny.encoder().double(), inlay.LoRA(rank=3, alpha=7.0), "linear")
    inlay.blend(model, "c", TWO, method="cat")
    average = inlay.Average("a", "b", weights=(0.6, 0.4))
    inputs = tiny.batch()
    torch.testing.assert_close(run(model, "c", inputs), run(model, average, inputs))


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_peft_agrees_where_it_is_right(family):
    if not (GOLDEN / family).is_dir():
        pytest.skip("the golden files of PEFT are not on this machine")
    folder = GOLDEN / family
    config = json.loads((folder / "base" / "config.json").read_text())
    model = getattr(hf, config["architectures"][0]).from_pretrained(folder / "base").eval()
    adapters = inlay.attach(model)
    for name in TWO:
        entry = adapters.add(name, inlay.LoRA(rank=4, alpha=8.0), at="q, v", copy_heads=False)
        saved = load_file(folder / "mixed" / name / "adapter_model.safetensors")
        for site, layer in entry.layers.items():
            path = f"base_model.model.{adapters.sites[site].module}"
            layer.a.data.copy_(saved.pop(f"{path}.lora_A.weight"))
            layer.b.data.copy_(saved.pop(f"{path}.lora_B.weight"))
        assert not saved
    inlay.blend(model, "cat", TWO, method="cat")
    made = inlay.blend(model, "svd", TWO, method="svd", rank=4)
    assert 0 < made.error < 1
    inputs, outputs = (
        load_file(folder / "inputs.safetensors"),
        load_file(folder / "outputs.safetensors"),
    )
    for name in ("cat", "svd"):
        wanted = outputs[f"merge_{name}"]
        torch.testing.assert_close(run(model, name, inputs), wanted, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(outputs["merge_linear"], outputs["merge_cat"], atol=1e-3)


def test_comparators_start_at_the_base():
    """Task arithmetic and TIES on all weights, as in their papers."""
    model = adapted(tiny.encoder(), inlay.Top(blocks=1))
    a, b = (model.adapters.entry(name).weights for name in TWO)
    base = {path: model.get_parameter(path).detach().double() for path in a}
    inlay.blend(model, "sum", ["a", "b"], method="task-arithmetic", scaling=0.7)
    inlay.blend(model, "ties", ["a", "b"], method="ties", density=0.3)
    for path, start in base.items():
        steps = [weights[path].detach().double() - start for weights in (a, b)]
        found = model.adapters.entry("sum").weights[path].double()
        torch.testing.assert_close(found, start + 0.7 * sum(steps), atol=1e-6, rtol=1e-6)
        found = model.adapters.entry("ties").weights[path].double()
        torch.testing.assert_close(found, start + ties(steps, (1, 1), 0.3), atol=1e-6, rtol=1e-6)


def test_other_methods_start_at_an_adapter():
    model = adapted(tiny.encoder(), inlay.Bottleneck(inner_width=5), "ffn")
    tiny.stir(model.adapters.add("zero", inlay.Bottleneck(inner_width=5), at="ffn"), 7)
    inlay.blend(model, "sum", {"a": 1.5, "b": -0.5}, method="task-arithmetic", origin="zero")
    a, b, zero, found = (model.adapters.entry(n).tensors() for n in ("a", "b", "zero", "sum"))
    for key, tensor in found.items():
        wanted = zero[key] + 1.5 * (a[key] - zero[key]) - 0.5 * (b[key] - zero[key])
        torch.testing.assert_close(tensor, wanted)
    assert model.adapters.entry("sum").blend["origin"] == "zero"
    message = r"begin at random\. Name the adapter .* origin=NAME\. Otherwise use linear, or cat"
    with pytest.raises(AdapterError, match=message):
        inlay.blend(model, "d", TWO, method="ties", density=0.5)
    with pytest.raises(ConfigError, match="weights must add up to 1; cat takes any"):
        inlay.blend(model, "d", {"a": 0.5, "b": 0.4})
    with pytest.raises(ConfigError, match="'linear' needs none"):
        inlay.blend(model, "d", TWO, origin="zero")
    with pytest.raises(ConfigError, match="rank is for lora"):
        inlay.blend(model, "d", TWO, rank=3)
    with pytest.raises(AdapterError, match="'bottleneck' is no product of two factors"):
        inlay.blend(model, "d", TWO, method="svd", rank=3)


def test_what_has_nothing_in_common_is_refused():
    model = adapted(tiny.encoder(), inlay.LoRA(rank=3), "q")
    adapters = model.adapters
    adapters.add("elsewhere", inlay.LoRA(rank=3), at="q, v")
    adapters.add("wide", inlay.Bottleneck(inner_width=6))
    adapters.add("thin", inlay.Bottleneck(inner_width=5))
    adapters.add("tanh", inlay.Bottleneck(inner_width=6, activation="tanh"))
    adapters.add("full", "full")
    adapters.add_combiner(inlay.Fuse("a", "b"))
    before = adapters.names
    for parts, message in (
        (["a", "wide"], "'a' is of method 'lora' and 'wide' of 'bottleneck'"),
        (
            ["a", "elsewhere"],
            r"different places, for example only one of them at '0\.attention\.v'",
        ),
        (["wide", "thin"], r"\(6, 24\) in 'wide' and \(5, 24\) in 'thin'; .* side by side"),
        (["wide", "tanh"], "'wide' has activation='relu' and 'tanh' has activation='tanh'"),
        (["fuse(a, b)", "a"], "learned weights of"),
        (["a", "nobody"], "no adapter 'nobody'"),
    ):
        with pytest.raises(AdapterError, match=message):
            inlay.blend(model, "new", parts)
    with pytest.raises(AdapterError, match="there is an adapter 'b' already"):
        inlay.blend(model, "b", ["a"])
    with pytest.raises(ConfigError, match="lora starts at the base"):
        inlay.blend(model, "new", TWO, method="task-arithmetic", origin="a")
    with pytest.raises(ConfigError, match="'full' starts at the base"):
        inlay.blend(model, "new", ["full"], method="task-arithmetic", scaling=2.0, origin="full")
    assert adapters.names == before


def test_heads_of_a_task_class():
    model = adapted(tiny.classifier(), inlay.LoRA(rank=3), "q")
    with pytest.raises(AdapterError, match="the heads of 'a' and 'b' differ"):
        inlay.blend(model, "c", TWO)
    assert "c" not in model.adapters.names
    inlay.blend(model, "of a", TWO, head_of="a")
    inlay.blend(model, "mean", TWO, heads="average")
    inlay.blend(model, "bare", TWO, heads="leave-out")
    a, b, of_a, mean = (
        model.adapters.entry(name).own_heads["classifier"].weight
        for name in ("a", "b", "of a", "mean")
    )
    assert torch.equal(of_a, a)
    torch.testing.assert_close(mean, 0.6 * a + 0.4 * b)
    assert model.adapters.entry("bare").own_heads == {}
    assert model.adapters.entry("of a").blend["heads"] == "of 'a'"


def test_the_card_says_what_it_was_made_of(tmp_path):
    model = adapted(tiny.encoder(), inlay.LoRA(rank=3), "q")
    made = inlay.blend(model, "c", TWO, method="ties", density=0.5)
    inlay.save(model, "c", tmp_path / "c", card={"note": "mine"})
    fresh = tiny.encoder()
    inlay.load(fresh, tmp_path / "c")
    inlay.save(fresh, "c", tmp_path / "again")
    for folder in ("c", "again"):
        card = json.loads((tmp_path / folder / "adapter.json").read_text())["card"]
        assert card["blend"] == made.record()
        assert card["blend"]["weights"] == TWO
        assert card["blend"]["density"] == 0.5
        assert 0 < card["blend"]["error"] < 1
    inputs = tiny.batch()
    assert torch.equal(run(fresh, "c", inputs), run(model, "c", inputs))


def test_what_adapters_are_stacked_on_stays_below_their_blend():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    for seed, name in enumerate(("shared", "a", "b", "alone")):
        below = "shared" if name in TWO else None
        tiny.stir(adapters.add(name, "lora", at="q", stack_on=below), seed)
    inlay.blend(model, "c", {"a": 1.0, "b": 0.0})
    assert adapters.entry("c").stack_on == "shared"
    assert torch.equal(run(model, "c", tiny.batch()), run(model, "a", tiny.batch()))
    with pytest.raises(AdapterError, match="'a' is stacked on 'shared' and 'alone' on None"):
        inlay.blend(model, "d", {"a": 0.5, "alone": 0.5})
