"""What is written for vLLM has the names, options and tensors that vLLM's own code takes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import inlay
from inlay.errors import FormatError
from inlay.exchange.peft_for_vllm import check_vllm, serving_notes
from inlay.exchange.peft_verify import check_same
from inlay.exchange.peft_writing import save_peft
from tests.contracts import tiny
from tests.contracts.families import FAMILIES

KEY = "base_model.model.bert.encoder.layer.1.output.dense.lora_B.weight"


def adapted(model, method="lora[rank=3,alpha=5]", **where):
    tiny.stir(inlay.attach(model).add("a", method, **where))
    return model


@pytest.fixture
def served(tmp_path):
    model = adapted(tiny.classifier(), at="q, down")
    folder = tmp_path / "served"
    save_peft(model, "a", folder, for_vllm=True, without_head=True)
    check_same(folder, model.adapters, model.adapters.entry("a"), without_head=True)
    return folder


def config_of(folder):
    return json.loads((folder / "adapter_config.json").read_text())


def tensors_of(folder):
    return load_file(folder / "adapter_model.safetensors")


def change_config(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(config_of(folder) | values))


def change_tensors(folder, change):
    tensors = tensors_of(folder)
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")


def test_one_rank_and_one_scale_for_all_modules(tmp_path):
    method = inlay.LoRA(rank=2, alpha=3.0, ranks={"down": 5}, alphas={"v": 7.0})
    model = adapted(tiny.decoder(), method, at="q, v, down")
    save_peft(model, "a", tmp_path, for_vllm=True)
    config, tensors = config_of(tmp_path), tensors_of(tmp_path)
    assert config["r"] == 5
    assert config["rank_pattern"] == {} == config["alpha_pattern"]
    assert config["modules_to_save"] is None
    assert len(config["target_modules"]) == 9
    for site, layer in model.adapters.entry("a").layers.items():
        start = f"base_model.model.{model.adapters.sites[site].module}"
        a, b = (tensors[f"{start}.lora_{end}.weight"].double() for end in "AB")
        update = config["lora_alpha"] / 5 * (b @ a)
        torch.testing.assert_close(update.float(), layer.weight_update())


@pytest.mark.parametrize("name", ["llama", "qwen3", "opt", "gpt2"])
def test_a_bare_decoder_is_named_as_in_the_class_that_writes(name, tmp_path):
    """vLLM would find none of the other names, and answer without the adapter."""
    import transformers as hf

    model = adapted(FAMILIES[name].build(), at="o, down")
    save_peft(model, "a", tmp_path, for_vllm=True)
    whole = hf.AutoModelForCausalLM.from_config(FAMILIES[name].config)
    paths = dict(whole.named_modules())
    ends = (".lora_A.weight", ".lora_B.weight")
    found = {
        key.removeprefix("base_model.model.").removesuffix(ends[key.endswith(ends[1])])
        for key in tensors_of(tmp_path)
    }
    assert len(found) == 4
    assert found <= set(paths)
    assert set(config_of(tmp_path)["target_modules"]) == found
    assert config_of(tmp_path)["task_type"] == "CAUSAL_LM"
    assert inlay.load(whole, tmp_path) == tmp_path.name
    updates = [
        sorted(float(x.weight_update().detach().double().sum()) for x in entry.layers.values())
        for entry in (model.adapters.entry("a"), whole.adapters.entry(tmp_path.name))
    ]
    assert updates[0] == pytest.approx(updates[1])
    save_peft(model, "a", tmp_path / "peft")
    assert config_of(tmp_path / "peft")["task_type"] == "FEATURE_EXTRACTION"


@pytest.mark.parametrize("name", ["bert", "modernbert", "t5", "clip"])
def test_others_keep_their_names(name, tmp_path):
    model = adapted(FAMILIES[name].build(), at="o")
    save_peft(model, "a", tmp_path / "served", for_vllm=True)
    save_peft(model, "a", tmp_path / "plain")
    assert tensors_of(tmp_path / "served").keys() == tensors_of(tmp_path / "plain").keys()


def test_a_head_is_not_written(tmp_path):
    model = adapted(tiny.classifier())
    with pytest.raises(
        FormatError, match=r"a head \('classifier'\), which is not written for vLLM"
    ):
        save_peft(model, "a", tmp_path / "x", for_vllm=True)
    assert not (tmp_path / "x").exists()
    save_peft(model, "a", tmp_path / "x", for_vllm=True, without_head=True)
    assert not any("classifier" in key for key in tensors_of(tmp_path / "x"))


@pytest.mark.parametrize(
    ("method", "at", "message"),
    [
        ("ia3", None, "is of method 'ia3'; vLLM loads lora only"),
        ("lora[magnitude=true]", "q", "is a DoRA, which vLLM does not load"),
        ("lora", "q, embedding", "has a LoRA at 'embedding', a table or a convolution"),
    ],
)
def test_adapters_that_vllm_has_no_place_for(method, at, message, tmp_path):
    model = adapted(tiny.decoder(), method, at=at)
    with pytest.raises(FormatError, match=message):
        save_peft(model, "a", tmp_path / "x", for_vllm=True)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("rank", "notes"),
    [
        (16, ()),
        (17, ("--max-lora-rank 32;",)),
        (300, ("--max-lora-rank 320;",)),
        (512, ("--max-lora-rank 512;",)),
    ],
)
def test_what_a_rank_asks_of_vllm(rank, notes, tmp_path):
    save_peft(adapted(tiny.decoder(), f"lora[rank={rank}]", at="q"), "a", tmp_path, for_vllm=True)
    found = serving_notes(tmp_path)
    assert len(found) == len(notes)
    assert all(note in text for note, text in zip(notes, found, strict=True))


def test_a_rank_that_vllm_never_takes(tmp_path):
    model = adapted(tiny.decoder(), "lora[rank=513]", at="q")
    with pytest.raises(FormatError, match="r=513: vLLM takes ranks up to 512"):
        save_peft(model, "a", tmp_path / "x", for_vllm=True)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"r": None}, "r=None: vLLM needs it"),
        ({"target_modules": ".*q"}, "vLLM takes a list of modules"),
        ({"modules_to_save": ["classifier"]}, "modules_to_save=.*vLLM does not follow it"),
        ({"rank_pattern": {"q": 2}}, "rank_pattern=.*vLLM does not follow it"),
        ({"alpha_pattern": {"q": 2}}, "alpha_pattern=.*vLLM does not follow it"),
        ({"use_rslora": True}, "use_rslora=True: vLLM does not follow it"),
        ({"alora_invocation_tokens": [3]}, "alora_invocation_tokens=.*vLLM does not follow it"),
        ({"layer_replication": [[0, 2]]}, "layer_replication=.*vLLM does not follow it"),
        ({"use_bdlora": {"blocks": 2}}, "use_bdlora=.*vLLM does not follow it"),
        ({"use_qalora": True}, "use_qalora=True: vLLM does not follow it"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa': vLLM does not follow it"),
        ({"bias": "all"}, "bias='all': vLLM does not follow it"),
        ({"r": 2}, "has another rank than r says"),
    ],
)
def test_options_that_prevent_vllm(served, values, message):
    change_config(served, **values)
    with pytest.raises(FormatError, match=message):
        check_vllm(served)


def test_tensors_that_prevent_vllm(served):
    change_tensors(served, lambda t: t.update({"base_model.model.score.weight": torch.ones(2)}))
    with pytest.raises(FormatError, match="'base_model.model.score.weight' is none that vLLM"):
        check_vllm(served)


def test_a_factor_alone_prevents_vllm(served):
    change_tensors(served, lambda t: t.pop(KEY))
    with pytest.raises(FormatError, match="is there without its '.lora_B.weight'"):
        check_vllm(served)


def test_a_start_that_leaves_the_base_as_it_is(served):
    change_config(served, init_lora_weights="Gaussian")
    check_vllm(served)
